"""A thousand requests while the app is deployed anew and a container is killed: none is lost that could be kept, and none
is run twice. With the fast lane and without (tests/client/run)."""

import concurrent.futures
import http.client
import signal
import threading
import time

import pytest

from conftest import CLIENT

pytestmark = pytest.mark.skipif(CLIENT < (1, 6), reason="the grid's own doing: one client is enough")
REQUESTS, CALLERS, AT_ONCE = 1000, 8, 4


@pytest.fixture(scope="module", autouse=True)
def gone_afterwards(grid):
    """It keeps a container, which other stories would wait for."""
    yield
    grid.modal("app", "stop", "drained", "--yes")


class Callers:
    """So many threads with a connection each, which they keep. Each request has its number and is asked once."""

    def __init__(self, grid):
        self.grid, self.lock = grid, threading.Lock()
        self.next, self.answers = 0, {}

    def ask(self, connection, target):
        connection.request("POST", "/-/drained-web" + target, body=b"x")
        answer = connection.getresponse()
        return answer.status, answer.headers.get("x-word"), answer.read().decode()

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.grid.port, timeout=60)
        while True:
            with self.lock:
                number, self.next = self.next, self.next + 1
            if number >= REQUESTS:
                return connection.close()
            try:
                self.answers[number] = self.ask(connection, f"/?{number}")
            except (http.client.HTTPException, OSError) as lost:
                self.answers[number] = (0, None, repr(lost))
                connection.close()

    def came_to(self, number):
        deadline = time.monotonic() + 60
        while self.next < number:
            assert time.monotonic() < deadline, f"only {self.next} requests in a minute"
            time.sleep(0.01)


def test_a_redeploy_and_a_kill_amid_a_thousand_requests(grid):
    grid.modal("deploy", "drained.py", WORD="old")
    assert grid.post("drained-web", b"")[0] == 200
    callers = Callers(grid)
    with concurrent.futures.ThreadPoolExecutor(CALLERS) as pool:
        working = [pool.submit(callers.run) for _ in range(CALLERS)]
        callers.came_to(100)
        grid.modal("deploy", "drained.py", WORD="new")
        deployed = callers.next
        callers.came_to(max(deployed, REQUESTS // 2))
        connection = http.client.HTTPConnection("127.0.0.1", grid.port, timeout=60)
        killed = callers.ask(connection, "/die")
        connection.close()
        for one in working:
            one.result()

    lost = {number: answer for number, answer in callers.answers.items() if answer[0] != 200}
    # Only what ran in the container that was killed, beside the request that did it.
    assert killed[0] == 502 and len(lost) <= AT_ONCE - 1 and all(answer[0] == 502 for answer in lost.values()), lost
    assert all(answer[2] == f"took {number}" for number, answer in callers.answers.items() if number not in lost)
    assert len(callers.answers) == REQUESTS
    words = [callers.answers[number][1] for number in range(min(deployed + CALLERS, REQUESTS), REQUESTS)
             if number not in lost]
    assert set(words) <= {"new"}, "what came after the deploy ran in what was deployed"
    inputs = [one["id"] for one in grid.admin("usage", "--app", "drained")["inputs"]]
    assert len(inputs) == len(set(inputs)) == REQUESTS + 2, "each ran once"


def test_a_grid_that_ends_answers_first_what_it_has_begun(grid):
    grid.modal("deploy", "drained.py", WORD="last")
    callers = Callers(grid)
    asked = http.client.HTTPConnection("127.0.0.1", grid.port, timeout=60)
    late = http.client.HTTPConnection("127.0.0.1", grid.port, timeout=60)
    assert callers.ask(late, "/?warm")[0] == 200
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        slow = pool.submit(callers.ask, asked, "/slow?1")
        grid.wait_until(lambda: grid.function("drained", "web")["running"] == 1, 20, "it runs")
        grid.process.send_signal(signal.SIGTERM)
        grid.wait_until(lambda: callers.ask(late, "/?late")[0] == 503, 10, "what comes now is refused")
        assert slow.result()[:2] == (200, "last")
    assert grid.process.wait(timeout=15) == 0
    grid.start()
    asked.close(), late.close()

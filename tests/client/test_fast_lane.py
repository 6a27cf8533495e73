"""Web requests by the fast lane: what the client's own loop does for them, the lane does."""

import asyncio
import base64
import concurrent.futures
import hashlib
import http.client
import json
import os
import pathlib
import re
import runpy
import socket
import struct
import time

import modal
import pytest
from conftest import CLIENT

pytestmark = pytest.mark.skipif(os.environ.get("GRIDIRON_FAST_LANE") == "false", reason="the fast lane is off")


@pytest.fixture(scope="module")
def lanes(grid):
    grid.deploy("lanes.py")
    return grid


class Bare:
    """Requests to the bare ASGI app, over a connection of their own each."""

    def __init__(self, grid):
        self.grid = grid

    def open(self, path, method="GET", body=None, headers={}):
        connection = http.client.HTTPConnection("localhost", self.grid.port, timeout=30)
        connection.request(method, "/-/lanes-bare" + path, body, headers)
        return connection.getresponse()

    def get(self, path, **how):
        answer = self.open(path, **how)
        return answer.status, answer.read()

    def about(self):
        return json.loads(self.get("/about?a=%20b")[1])


def test_a_request_that_is_cancelled_as_it_comes_ends_all_the_same():
    """Both frames in one read: its task has not begun yet."""
    source = pathlib.Path(__file__).resolve().parents[2] / "guest" / "fast_lane.py"
    guest = runpy.run_path(source, run_name="lane")
    written, began = [], []

    class Transport:
        write = staticmethod(written.append)
        is_closing = staticmethod(lambda: False)

    async def app(scope, receive, send):
        began.append(scope)

    async def story():
        lane = guest["Lane"]({"": (app, {})}, asyncio.get_running_loop())
        lane.set_ids = lambda *ids: None
        connection = guest["Connection"](lane)
        connection.connection_made(Transport())
        fields = [b"h", b"0", b"", b"in-1", b"fc-1", b"1.1", b"GET", b"http", b"/", b"", b"", b"::1", b"1", b"h", b"80"]
        head = b"\0".join(fields)
        head = struct.pack("<I", len(head)) + head
        frames = struct.pack("<IB", len(head), ord("R")) + head + struct.pack("<IB", 7, ord("C")) + b"timeout"
        connection.data_received(frames)
        await asyncio.sleep(0.01)
        assert not lane.tasks and not began
    asyncio.run(story())
    assert b"".join(written) == struct.pack("<IB", 7, ord("Z")) + b"timeout"


@pytest.fixture(scope="module")
def bare(lanes):
    return Bare(lanes)


def one(grid, word="hi", **more):
    status, headers, body = grid.post("lanes-one", {"word": word, **more})
    assert status == 200, body
    return json.loads(body), headers


def test_requests_come_by_the_lane_with_ids_of_their_own(lanes):
    first, headers = one(lanes, "first")
    assert first["lane"] and first["word"] == "first"
    assert "run;dur=" in headers["server-timing"]
    second, _ = one(lanes, "second")
    assert second["task"] == first["task"] and second["lane"]
    assert {first["input"], second["input"]}.isdisjoint({None}) and first["input"] != second["input"]
    assert first["input"].startswith("in-") and first["call"] != second["call"]


def test_an_exception_is_a_500_with_one_traceback_in_the_log(lanes):
    status, _, body = lanes.post("lanes-one", {"raise": True})
    assert status == 500
    if CLIENT >= (1, 4):
        lanes.wait_until(lambda: "ValueError: asked for trouble" in lanes.app_logs("lanes"), 10, "it is in the log")
    assert one(lanes, "after")[0]["lane"]


def test_a_sync_function_has_the_ids_too_and_they_are_not_mixed(lanes):
    with concurrent.futures.ThreadPoolExecutor(8) as many:
        answers = list(many.map(lambda n: lanes.post("lanes-in-thread", {"word": n}), range(8)))
    got = [json.loads(body) for _, _, body in answers]
    assert [each["word"] for each in got] == list(range(8))
    assert len({each["input"] for each in got}) == 8


def test_web_methods_of_a_class_share_its_containers(lanes):
    status, _, body = lanes.post("lanes-sell", {})
    sold = json.loads(body)
    assert (status, sold["what"], sold["name"], sold["opened"], sold["lane"]) == (200, "sold", "corner", True, True)
    _, _, body = lanes.post("lanes-buy", {})
    assert (json.loads(body)["what"], json.loads(body)["task"]) == ("bought", sold["task"])


def test_a_class_serves_requests_and_calls_in_turn(lanes, client):
    kiosk = modal.Cls.from_name("lanes", "Kiosk")()
    for round in range(3):
        sold = json.loads(lanes.post("lanes-kiosk", {})[2])
        assert sold["lane"]
        assert kiosk.count.remote(round) == f"{round} {sold['task']}"
        assert kiosk.count_async.remote(round) == f"{round} {sold['task']}"


def test_calls_run_beside_requests_where_both_may(lanes, client):
    bazaar = modal.Cls.from_name("lanes", "Bazaar")()
    task = json.loads(lanes.post("lanes-bazaar", {})[2])["task"]
    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        long = beside.submit(lanes.post, "lanes-bazaar", {"for": 1.5})
        assert [bazaar.count.remote(n) for n in range(3)] == [f"{n} {task}" for n in range(3)]
        assert not long.done(), "they were answered while it ran"
        sold = json.loads(long.result()[2])
    assert sold["lane"] and sold["task"] == task


def test_an_address_names_the_parameters_of_a_class(lanes, client):
    def post(query):
        status, _, body = lanes.post("lanes-stall/?" + query, {})
        return status, body if status != 200 else json.loads(body)
    status, high = post("street=High%20Street")
    assert (status, high["at"], high["lane"]) == (200, "High Street 1", True)
    status, seven = post("number=7&street=High+Street&other=x")
    assert (status, seven["at"]) == (200, "High Street 7") and seven["task"] != high["task"]
    assert modal.Cls.from_name("lanes", "Stall")(street="High Street").where.remote() == f"High Street 1 {high['task']}"
    status, why = post("number=7")
    assert status == 400 and b"street" in why
    status, why = post("street=a&number=seven")
    assert status == 400 and b"seven" in why


def test_wsgi_apps_are_served(lanes):
    status, _, body = lanes.post("lanes-plain", b"x" * 200_000)
    assert status == 200 and body.startswith(b"POST 200000 in-"), body


def test_a_scope_has_path_prefix_query_and_lifespan_state(bare):
    about = bare.about()
    assert (about["path"], about["root"], about["query"]) == ("/-/lanes-bare/about", "/-/lanes-bare", "a=%20b")
    assert (about["state"], about["started"], about["lane"]) == ({"of": "lifespan"}, ["up"], True)


def test_bodies_of_any_size_and_shape_arrive_whole(bare):
    def chunks():
        for _ in range(50):
            yield b"y" * 20_000
    assert bare.get("/size", method="POST", body=b"x" * 10_000_000) == (200, b"10000000")
    assert bare.get("/size", method="POST", body=chunks()) == (200, b"1000000")
    assert bare.get("/size", method="POST", body=b"") == (200, b"0")


def test_answers_stream_and_large_ones_arrive_whole(bare):
    answer = bare.open("/events")
    assert answer.read1() == b"0\n", "the first is there before the last is written"
    assert answer.read() == b"1\n2\n3\n4\n"
    assert bare.get("/large") == (200, bytes(20_000_000))
    assert bare.open("/large", method="HEAD").read() == b""


def test_an_app_that_fails_before_or_after_its_head_is_told_apart(bare):
    assert bare.get("/early")[0] == 500
    assert bare.get("/nothing")[0] == 502
    with pytest.raises(http.client.IncompleteRead):
        bare.get("/late")


def test_a_request_that_takes_too_long_is_a_504_and_its_handler_is_cancelled(bare):
    assert bare.get("/slow")[0] == 504
    bare.grid.wait_until(lambda: "timeout" in bare.about()["heard"], 5, "it heard")
    assert bare.about()["lane"], "the container lives"


def test_work_behind_an_answer_goes_on_and_holds_its_place(bare):
    assert bare.get("/behind") == (200, b"answered")
    bare.grid.wait_until(lambda: "behind" in bare.about()["heard"], 5, "it was done")


def test_a_caller_that_hangs_up_is_told_to_the_app_which_is_then_cancelled(bare):
    answer = bare.open("/gone")
    assert answer.read1() == b"first\n"
    answer.close()
    bare.grid.wait_until(lambda: "disconnect" in bare.about()["heard"], 5, "it was told")
    bare.grid.wait_until(lambda: "cancelled" in bare.about()["heard"], 5, "and cancelled")


def test_a_generator_whose_reader_has_gone_is_closed(lanes):
    request = http.client.HTTPConnection("localhost", lanes.port, timeout=30)
    request.request("POST", "/-/lanes-feed/", b"{}", {"content-type": "application/json"})
    answer = request.getresponse()
    assert answer.read1().startswith(b"crumb\n")
    answer.close()
    request.close()
    lanes.wait_until(lambda: json.loads(lanes.post("lanes-feed", {"look": True})[2])["fed"] == ["closed"], 10, "closed")


def test_an_input_that_is_cancelled_by_its_call_ends_in_the_app(bare, client):
    answer = bare.open("/cancelled")
    modal.FunctionCall.from_id(answer.readline().decode().strip()).cancel()
    with pytest.raises(http.client.IncompleteRead):
        answer.read()
    bare.grid.wait_until(lambda: "taken back" in bare.about()["heard"], 5, "it heard")


def test_what_nobody_reads_is_not_written(bare):
    answer = bare.open("/pieces")
    written = []

    def stands_still():
        written.append(bare.about()["heard"].count("piece"))
        return len(written) > 3 and written[-1] == written[-4]
    bare.grid.wait_until(stands_still, 10, "its writer waits")
    assert written[-1] < 40, "most of 65 MB waits in the app"
    assert len(answer.read()) == 65_000_000


def test_a_container_that_is_told_to_stop_cancels_what_runs(bare, client):
    task = bare.about()["task"]
    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        running = beside.submit(bare.get, "/slow")
        bare.grid.wait_until(lambda: bare.grid.function("lanes", "bare")["running"] == 1, 5, "it runs")
        bare.grid.modal("container", "stop", *(["--yes"] if CLIENT >= (1, 4) else []), task)
        status, _ = running.result()
    assert status in (500, 502, 503, 504)
    assert bare.about()["task"] != task


def test_what_runs_comes_to_its_end_when_the_app_is_deployed_anew(bare):
    task = bare.about()["task"]
    answer = bare.open("/events?slowly")
    assert answer.readline() == b"0\n"
    bare.grid.modal("deploy", "lanes.py", LANES_LATER="1")
    assert bare.about()["task"] != task, "the next request is of the new version"
    assert answer.read() == b"1\n2\n3\n4\n"


def test_more_than_a_container_may_run_waits(bare):
    with concurrent.futures.ThreadPoolExecutor(12) as many:
        got = list(many.map(lambda _: bare.get("/events"), range(12)))
    assert got == [(200, b"0\n1\n2\n3\n4\n")] * 12


class Talk:
    """A WebSocket to the bare app, frame by frame."""

    def __init__(self, grid, path="/chat", **headers):
        self.socket = socket.create_connection(("localhost", grid.port), timeout=20)
        key = base64.b64encode(os.urandom(16)).decode()
        fields = {"Host": "localhost", "Upgrade": "websocket", "Connection": "keep-alive, Upgrade",
                  "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key, **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.socket.sendall(f"GET /-/lanes-bare{path} HTTP/1.1\r\n{lines}\r\n".encode())
        self.stream = self.socket.makefile("rb")
        self.status = int(self.stream.readline().split()[1])
        self.headers = http.client.parse_headers(self.stream)
        magic = (key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()
        self.accepted = self.headers.get("sec-websocket-accept") == base64.b64encode(hashlib.sha1(magic).digest()).decode()

    def say(self, opcode, data=b"", last=True):
        size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xff" + struct.pack(">Q", len(data))
        self.socket.sendall(bytes([opcode | 0x80 * last]) + size + bytes(4) + data)

    def hear(self):
        opcode, size = self.stream.read(2)
        if size >= 126:
            size = int.from_bytes(self.stream.read(2 if size == 126 else 8), "big")
        return opcode & 0x0f, self.stream.read(size)


def test_a_websocket_is_accepted_echoed_and_closed_by_either_side(lanes, bare):
    talk = Talk(lanes, **{"Sec-WebSocket-Protocol": "shout, talk"})
    assert (talk.status, talk.accepted) == (101, True)
    assert (talk.headers["sec-websocket-protocol"], talk.headers["x-lane"]) == ("talk", "1")
    large = os.urandom(300_000)
    for opcode, data in ((1, "grüße".encode()), (2, large), (1, b"")):
        talk.say(opcode, data)
        assert talk.hear() == (opcode, data)
    talk.say(1, b"in ", last=False)
    talk.say(9, b"are you there")
    talk.say(0, b"pieces")
    assert talk.hear() == (10, b"are you there")
    assert talk.hear() == (1, b"in pieces")
    talk.say(8, struct.pack(">H", 4002))
    assert talk.hear() == (8, struct.pack(">H", 4002))
    lanes.wait_until(lambda: "closed 4002" in bare.about()["heard"], 5, "the app heard")
    second = Talk(lanes)
    second.say(1, b"bye")
    assert second.hear() == (8, struct.pack(">H", 4001) + b"as you wish")
    second.say(8, struct.pack(">H", 4001))
    assert second.stream.read() == b""


def test_a_websocket_that_is_cut_or_breaks_the_rules_is_told_to_the_app(lanes, bare):
    talk = Talk(lanes)
    talk.socket.shutdown(socket.SHUT_RDWR)
    lanes.wait_until(lambda: "closed 1006" in bare.about()["heard"], 5, "the app heard")
    talk = Talk(lanes)
    talk.say(1, b"\xff")
    assert talk.hear() == (8, struct.pack(">H", 1007))
    assert Talk(lanes, **{"Sec-WebSocket-Version": "12"}).status == 426
    assert Talk(lanes, **{"Sec-WebSocket-Key": "short"}).status == 400


def memory_mb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1)) / 1024


@pytest.mark.parametrize("label, by_lane, megabytes, most", [("lanes-pipe", "1", 200, 40),
                                                             ("lanes-pipe-without", "0", 100, 160)])
def test_bodies_go_through_both_ways_at_once_in_little_memory(lanes, label, by_lane, megabytes, most):
    """A caller that reads late holds back the app, which holds back the caller. Without the lane there are 64 MiB each
    way in between."""
    piece = os.urandom(1 << 20)
    size = megabytes * len(piece)
    talk = socket.create_connection(("localhost", lanes.port), timeout=60)
    talk.sendall(f"POST /-/{label}/ HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode())

    def say():
        for _ in range(megabytes):
            talk.sendall(piece)
    with concurrent.futures.ThreadPoolExecutor(1) as other:
        before = memory_mb(lanes.process.pid)
        said = other.submit(say)
        answer = http.client.HTTPResponse(talk, method="POST")
        answer.begin()
        assert (answer.status, answer.headers["x-lane"]) == (200, by_lane)
        got, grown, expected = 0, 0, hashlib.sha256()
        heard = hashlib.sha256()
        if by_lane == "1":
            time.sleep(0.3)
            assert not said.done(), "nobody has read: the caller waits"
        while chunk := answer.read(1 << 20):
            heard.update(chunk)
            if got >> 24 != (got + len(chunk)) >> 24:
                grown = max(grown, memory_mb(lanes.process.pid) - before)
            got += len(chunk)
        said.result()
    for _ in range(megabytes):
        expected.update(piece)
    assert (got, heard.digest()) == (size, expected.digest())
    assert grown < most, f"{grown:.0f} MiB more than before"


def test_it_can_be_turned_off_by_a_variable(lanes):
    status, _, body = lanes.post("lanes-without", {})
    assert status == 200 and not json.loads(body)["lane"]


def test_what_is_idle_ends_as_ever(lanes, bare):
    bare.about()
    lanes.wait_until(lambda: not lanes.containers("lanes"), 30, "scaled to zero")
    if CLIENT >= (1, 4):
        logs = lanes.app_logs("lanes")
        assert "the lifespan ends" in logs and "the shop closes" in logs

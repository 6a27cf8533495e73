"""`modal run` and `modal serve`: apps that live as long as their client, and what is left when it goes."""

import json
import pathlib
import re
import signal
import tempfile

import pytest
from conftest import CLIENT, Grid, Running

SERVED = """
import modal
app = modal.App("served")
endpoint = modal.web_endpoint if {old} else modal.fastapi_endpoint

@app.function()
@endpoint(method="POST")
def answer(data: dict):
    return {{"word": "{word}"}}
"""


def state_of(grid: Grid, app: str) -> str:
    """By its id or its description; keys differ by version."""
    rows = [list(row.values()) for row in json.loads(grid.modal("app", "list", "--json"))]
    (row,) = [row for row in rows if app in row]
    return " ".join(str(cell) for cell in row)


def test_run_calls_the_local_entrypoint_with_its_arguments(grid):
    output = grid.modal("run", "hand.py", "--name", "Ada", "--times", "2")
    assert "got 2 greetings of Ada" in output
    assert "greeting hello Ada hello Ada" in output, "what the container prints is shown"


def test_run_calls_a_function_directly_with_its_arguments(grid):
    assert "greeting hello Grace" in grid.modal("run", "hand.py::greet", "--name", "Grace")
    assert "as it should" in grid.modal("run", "hand.py::fails", expect=1)


def test_run_of_a_module_and_interactively(grid):
    assert "got 1 greetings of Eve" in grid.modal("run", "-i", "-m", "hand", "--name", "Eve")


def test_a_detached_run_goes_on_without_its_client(grid):
    with Running(grid, "run", "--detach", "hand.py::outlives", "--seconds", "2") as run:
        grid.wait_until(lambda: run.said(r"began in (ta-\w+)"), 60, "it began")
    task = run.said(r"began in (ta-\w+)").group(1)
    app = run.said(r"ap-\w+").group()
    assert not run.said("ended in"), "the client was killed before"
    grid.wait_until(lambda: f"ended in {task}" in grid.app_logs(app), 30, "it went on to its end")
    assert "detached" in state_of(grid, app)
    grid.modal("app", "stop", app, *(["--yes"] if CLIENT >= (1, 4) else []))
    assert "stopped" in state_of(grid, app)


@pytest.fixture
def impatient(monkeypatch):
    """A grid that soon misses a client."""
    monkeypatch.setenv("GRIDIRON_CLIENT_SILENCE", "2s")
    with tempfile.TemporaryDirectory(prefix="gridiron-client-") as data:
        grid = Grid(pathlib.Path(data))
        grid.start()
        grid.sign_in()
        yield grid
        grid.stop()


def test_an_app_whose_client_was_killed_is_stopped(impatient):
    with Running(impatient, "run", "idle.py", MODAL_HEARTBEAT_INTERVAL="0.5") as run:
        impatient.wait_until(lambda: run.said("it runs"), 60, "it runs")
        assert "ephemeral" in state_of(impatient, "idle")
        run.process.kill()
    impatient.wait_until(lambda: "stopped" in state_of(impatient, "idle"), 20, "the grid stopped the app")


def test_an_interrupted_run_stops_its_app(grid):
    with Running(grid, "run", "idle.py") as run:
        grid.wait_until(lambda: run.said("it runs"), 60, "it runs")
        run.process.send_signal(signal.SIGINT)
        run.process.wait(timeout=30)
    assert "stopped" in state_of(grid, run.said(r"ap-\w+").group())


def test_serve_shows_each_change_at_once_and_ends_with_its_client(grid, tmp_path):
    file = tmp_path / "served.py"
    write = lambda word: file.write_text(SERVED.format(word=word, old=CLIENT < (1, 4)))
    answers = lambda word: grid.post("served-answer-dev", {})[2] == json.dumps({"word": word}, separators=(",", ":")).encode()
    write("first")
    with Running(grid, "serve", str(file)) as serve:
        grid.wait_until(lambda: serve.said("served-answer-dev"), 120, "its address is told")
        assert answers("first")
        write("second")
        grid.wait_until(lambda: answers("second"), 60, "the new code answers")
        serve.process.send_signal(signal.SIGINT)
        serve.process.wait(timeout=30)
    assert grid.post("served-answer-dev", {})[0] == 404

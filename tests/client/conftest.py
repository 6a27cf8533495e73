"""A real grid for the real client: one grid for the whole run, on a port of its own, in a folder of its own."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import modal
import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("GRIDIRON_BINARY", TOP / "build" / "gridiron"))
APPS = pathlib.Path(__file__).parent / "apps"
CLIENT = tuple(int(part) for part in modal.__version__.split(".")[:2])


class Running:
    """A command of the client in a process of its own, and what it printed so far."""

    def __init__(self, grid: "Grid", *arguments: str, **environment: str):
        self.lines = []
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "modal", *arguments], cwd=APPS, stdin=subprocess.DEVNULL,
            # Tests that run in the background ignore ctrl-C; their clients must not.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, **grid.environment, **environment})
        self.reader = threading.Thread(target=lambda: self.lines.extend(iter(self.process.stdout.readline, "")),
                                       daemon=True)
        self.reader.start()

    def text(self) -> str:
        return "".join(self.lines)

    def said(self, pattern: str):
        return re.search(pattern, self.text())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


class Grid:
    """`gridiron up` on a data folder, and the client's commands against it."""

    def __init__(self, data: pathlib.Path):
        self.data = data
        self.process = None
        self.port = None
        self.environment = {}
        self.deployed = set()
        self.followers = {}

    def start(self) -> None:
        log = open(self.data / "grid.log", "ab")
        self.process = subprocess.Popen(
            [BINARY, "up", "--data", self.data, "--listen", f"127.0.0.1:{self.port or 0}",
             "--access-log", self.data / "access.log", "--domains", "hooks.example.org,*.shop.example.org"],
            stdout=subprocess.PIPE, stderr=log, text=True)
        for line in self.process.stdout:
            if "http://" in line:  # "… listens at http://localhost:PORT …"
                self.port = int(line.split("http://")[1].split(":")[1].split("/")[0].split()[0].rstrip(".,"))
                break
        else:
            raise AssertionError("the grid did not start:\n" + (self.data / "grid.log").read_text()[-4000:])

    def sign_in(self) -> None:
        token = self.admin("token", "new")
        self.workspace = token["workspace"]
        self.environment = {
            "MODAL_SERVER_URL": f"http://localhost:{self.port}",
            "MODAL_TOKEN_ID": token["token_id"],
            "MODAL_TOKEN_SECRET": token["token_secret"],
            "MODAL_CONFIG_PATH": str(self.data / "modal.toml"),
        }

    def stop(self) -> None:
        for follower in self.followers.values():
            follower.kill()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=15) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def admin(self, *arguments: str):
        done = subprocess.run([BINARY, *arguments, "--data", self.data, "--json"], capture_output=True, text=True,
                              timeout=30)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def modal(self, *arguments: str, expect: int = 0, timeout: float = 600, **environment: str) -> str:
        done = subprocess.run([sys.executable, "-m", "modal", *arguments], capture_output=True, text=True, cwd=APPS,
                              timeout=timeout, env={**os.environ, **self.environment, **environment})
        output = done.stdout + done.stderr
        assert done.returncode == expect, f"exit {done.returncode}\n{output}\n--- grid:\n{self.tail()}"
        return output

    def deploy(self, file: str) -> None:
        """Deploys an app of tests/client/apps, once in a run: stories share what is deployed."""
        if file not in self.deployed:
            self.modal("deploy", file)
            self.deployed.add(file)

    def app_logs(self, app: str) -> str:
        """What `modal app logs` has so far, of clients that fetch and of those that only follow."""
        if CLIENT >= (1, 4):
            return self.modal("app", "logs", app)
        follower = self.followers.get(app)
        if follower is None or follower.process.poll() is not None:  # it ends with the app
            follower = self.followers[app] = Running(self, "app", "logs", app)
        return follower.text()

    def tail(self, size: int = 3000) -> str:
        return (self.data / "grid.log").read_text(errors="replace")[-size:]

    def requests(self, path: str, count: int):
        """The access log's lines of a path, once there are so many: they are written a moment after the answer."""
        found = []

        def look():
            lines = (self.data / "access.log").read_text().splitlines(keepends=True)
            whole = [json.loads(line) for line in lines if line.endswith("\n")]
            found[:] = [line for line in whole if line.get("path") == path]
            return len(found) == count

        self.wait_until(look, 20, f"{count} lines of {path} in the access log")
        return found

    def url(self, label: str) -> str:
        """By path: the test machine need not resolve *.localhost."""
        return f"http://localhost:{self.port}/-/{label}" + ("" if "/" in label else "/")

    def post(self, label: str, body, timeout: float = 120, **headers: str):
        """(status, headers, body) of a POST of JSON (or of bytes as they are)."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url(label), data=data, headers={"content-type": "application/json",
                                                                            **headers})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def containers(self, app: str = "", function: str = ""):
        """Those that live, of one function if it is named: apps share the grid, and names of functions."""
        return [c for c in self.admin("status")["containers"]
                if (not app or c["app"] == app) and (not function or c["function"] == function)]

    def function(self, app: str, name: str) -> dict:
        """What `gridiron status` has of a function: queued, running, containers (ready ones), starting."""
        (row,) = [f for f in self.admin("status")["functions"] if (f["app"], f["function"]) == (app, name)]
        return row

    def wait_until(self, what, seconds: float, why: str):
        """Looks every 50 ms: the grid is another process, whose events a test can only watch."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if what():
                return
            time.sleep(0.05)
        raise AssertionError(f"after {seconds} s still not: {why}\n{self.tail()}")


@pytest.fixture(scope="session")
def grid():
    # GRIDIRON_TEST_DATA keeps the folder, and with it the images, from run to run (while writing tests).
    kept = os.environ.get("GRIDIRON_TEST_DATA")
    data = pathlib.Path(kept or tempfile.mkdtemp(prefix="gridiron-client-"))
    data.mkdir(parents=True, exist_ok=True)
    grid = Grid(data)
    grid.start()
    grid.sign_in()
    yield grid
    grid.stop()
    if not kept:
        shutil.rmtree(data, ignore_errors=True)


@pytest.fixture(scope="session")
def client(grid):
    """The grid, with the client in this process signed in to it."""
    before = dict(os.environ)
    os.environ.update(grid.environment)
    yield grid
    os.environ.clear()
    os.environ.update(before)

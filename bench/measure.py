"""What cold_start, warm and map share: a grid of their own with an app on it, and clocks."""
import http.client
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent
BODY = json.dumps({"hello": "world"})


def client_venv():
    return subprocess.run([TOP / "tools" / "client-venv", os.environ.get("MODAL_VERSION", "1.6.4")], check=True,
                          stdout=subprocess.PIPE, text=True).stdout.strip()


def client_environment(grid, folder):
    """What a client needs to be signed in to the grid."""
    token = folder.json("token", "new")
    return {**os.environ, "MODAL_SERVER_URL": grid.url, "MODAL_TOKEN_ID": token["token_id"],
            "MODAL_TOKEN_SECRET": token["token_secret"], "MODAL_CONFIG_PATH": str(folder.top / "modal.toml")}


def open_grid(*apps, python=None):
    """(grid, folder) with the apps (apps.py) deployed; the caller ends both. `GRIDIRON` names the program, `python`
    one that has the client and what the apps import."""
    program = os.environ.get("GRIDIRON", str(TOP / "build" / "gridiron"))
    sys.argv.insert(1, program)  # where tests/flow/grid.py looks for it
    sys.path.insert(0, str(TOP / "tests" / "flow"))
    from grid import Folder, Grid
    folder = Folder()
    # Images and wheels are kept between measurements.
    folder.environment.pop("GRIDIRON_CACHE", None)
    for name in ("GRIDIRON_ZYGOTE_MEMORY", "GRIDIRON_FAST_LANE"):
        if name in os.environ:
            folder.environment[name] = os.environ[name]
    grid = Grid(folder)
    grid.__enter__()
    environment = client_environment(grid, folder)
    for app in apps or ["apps.py"]:
        subprocess.run([python or f"{client_venv()}/bin/python", "-m", "modal", "deploy", str(HERE / app)], check=True,
                       env=environment, stdout=subprocess.DEVNULL)
    return grid, folder


class Caller:
    """One kept connection."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)

    def call(self, method, path, body=None):
        """(seconds, headers) of one request that must succeed."""
        headers = {"content-type": "application/json"} if body else {}
        started = time.perf_counter()
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        text = answer.read()
        took = time.perf_counter() - started
        if answer.status != 200:
            raise SystemExit(f"{method} {path}: {answer.status} {text[:300]!r}")
        return took, answer.headers


def wait_for_no_containers(folder, seconds=60):
    wait_for_fewer_containers(folder, 1, seconds)


def wait_for_fewer_containers(folder, than, seconds=60):
    deadline = time.monotonic() + seconds
    while len(folder.json("status")["containers"]) >= than:
        if time.monotonic() > deadline:
            raise SystemExit("containers stay although nothing is called")
        time.sleep(0.1)


def middle(samples):
    return statistics.median(samples)


def show(name, samples):
    ordered = sorted(samples)
    high = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    print(f"{name:<34} median {middle(ordered) * 1000:8.1f} ms   p95 {high * 1000:8.1f} ms   n {len(ordered)}")

"""A gridiron process on a data folder of its own, for the stories beside this file."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

GRIDIRON = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else "gridiron"
# What a grid may take to become ready, and to end after SIGTERM (the promise is 10 s).
READY_SECONDS, END_SECONDS = 30, 10


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Folder:
    """A data folder and the commands on it."""

    def __init__(self):
        self.top = pathlib.Path(tempfile.mkdtemp(prefix="gridiron-flow-"))
        self.data = self.top / "data"
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("GRIDIRON_")}
        self.environment["GRIDIRON_CACHE"] = str(self.top / "cache")

    def remove(self):
        shutil.rmtree(self.top, ignore_errors=True)

    def command(self, *words, data=True, stdin=None):
        where = ["--data", str(self.data)] if data else []
        return subprocess.run([GRIDIRON, *words, *where], env=self.environment, input=stdin, text=True,
                              capture_output=True, timeout=60)

    def json(self, *words, stdin=None):
        done = self.command(*words, "--json", stdin=stdin)
        assert done.returncode == 0, f"gridiron {' '.join(words)}: {done.stderr}"
        return json.loads(done.stdout)


class Grid:
    """A running `gridiron up`; `with Grid(folder) as grid:`."""

    def __init__(self, folder, command="up"):
        self.folder = folder
        self.command = command
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        self.ready = ""

    def start(self):
        """Starts it (again) and does not wait."""
        with open(self.folder.top / "said", "w") as said, open(self.folder.top / "log", "a") as log:
            self.process = subprocess.Popen(
                [GRIDIRON, self.command, "--data", str(self.folder.data), "--listen", f"127.0.0.1:{self.port}"],
                env=self.folder.environment, stdout=said, stderr=log)

    def __enter__(self):
        self.start()
        deadline = time.monotonic() + READY_SECONDS
        while "connect a client" not in self.ready:
            self.ready = (self.folder.top / "said").read_text()
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise AssertionError("not ready: " + (self.folder.top / "log").read_text()[-2000:])
            time.sleep(0.02)
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.end()

    def end(self):
        """SIGTERM; gives (exit status, seconds it took)."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(END_SECONDS), time.monotonic() - started
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"still there {END_SECONDS} s after SIGTERM")


class Browser:
    """Just enough of one: a cookie, forms, no redirects followed."""

    class _Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    def __init__(self, grid):
        self.base = f"http://127.0.0.1:{grid.port}"
        self.host = f"localhost:{grid.port}"
        self.cookie = ""
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), self._Stay)

    def ask(self, method, path, form=None, body=None, headers=None):
        """Gives (status, headers, text)."""
        data, sent = None, {"host": self.host, **(headers or {})}
        if form is not None:
            data = urllib.parse.urlencode(form).encode()
        if body is not None:
            data = json.dumps(body).encode()
            sent["content-type"] = "application/json"
        if self.cookie:
            sent["cookie"] = self.cookie
        request = urllib.request.Request(self.base + path, data=data, headers=sent, method=method)
        try:
            answer = self.opener.open(request, timeout=60)
        except urllib.error.HTTPError as refused:
            answer = refused
        with answer:
            if answer.headers.get("set-cookie"):
                self.cookie = answer.headers["set-cookie"].split(";")[0]
            return answer.status, answer.headers, answer.read().decode()

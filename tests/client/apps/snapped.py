"""What is kept as a memory snapshot, and what a copy of it has of its own. `loaded` tells which process it once was."""

import os
import random
import socket
import threading
import time
import uuid

import modal

app = modal.App("snapped")
endpoint = getattr(modal, "fastapi_endpoint", None) or modal.web_endpoint
LOADED = uuid.uuid4().hex
kept = []


def facts(**more) -> dict:
    return {"loaded": LOADED, "container": os.environ["MODAL_TASK_ID"], "draw": random.random(),
            "word": os.environ.get("WORD"), **more}


@app.function(scaledown_window=2, enable_memory_snapshot=True)
def plain() -> dict:
    print("plain runs in", os.environ["MODAL_TASK_ID"])
    return facts()


@app.function(scaledown_window=2, enable_memory_snapshot=True)
@endpoint(method="POST")
def web(data: dict) -> dict:
    return facts(data=data)


@app.function(scaledown_window=2, enable_memory_snapshot=True, secrets=[modal.Secret.from_name("snap-word")])
def worded() -> dict:
    return facts()


@app.cls(scaledown_window=2, enable_memory_snapshot=True)
class Model:
    name: str = modal.parameter(default="plain")

    @modal.enter(snap=True)
    def load(self):
        random.seed(7)
        self.loaded = uuid.uuid4().hex
        self.steps = ["load"]
        with open("/tmp/weights", "w") as file:
            file.write(self.loaded)

    @modal.enter(snap=False)
    def ready(self):
        self.steps.append("ready in " + os.environ["MODAL_TASK_ID"])

    @modal.method()
    def story(self) -> dict:
        return facts(model=self.loaded, weights=open("/tmp/weights").read(), steps=self.steps, name=self.name)

    @modal.method()
    def count(self, n: int):
        yield from range(n)


@app.cls(scaledown_window=2, enable_memory_snapshot=True)
class Connected:
    """It cannot be kept: it holds an open connection."""

    @modal.enter(snap=True)
    def connect(self):
        listener = socket.create_server(("127.0.0.1", 0))
        kept.extend([listener, socket.create_connection(listener.getsockname()), listener.accept()])

    @modal.method()
    def story(self) -> dict:
        return facts()


def born() -> str:
    """When the container's first process began."""
    with open("/proc/1/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[19]


@app.cls(scaledown_window=2, enable_memory_snapshot=True)
class Mortal:
    """A copy of it dies as soon as it sees that it is one."""

    @modal.enter(snap=True)
    def watch(self):
        first = born()

        def look():
            while born() == first:
                time.sleep(0.001)
            os._exit(222)

        threading.Thread(target=look, daemon=True).start()

    @modal.method()
    def story(self) -> dict:
        return facts()

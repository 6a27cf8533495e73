"""bench/snapshot: two seconds of work and 500 MB of state in what a memory snapshot keeps."""
import os
import time

import modal

app = modal.App("bench-snapshot")
endpoint = getattr(modal, "fastapi_endpoint", None) or modal.web_endpoint



def load() -> bytearray:
    end = time.process_time() + 2
    state = bytearray(os.urandom(1 << 20) * 500)
    while time.process_time() < end:
        pass
    return state


@app.cls(enable_memory_snapshot=True, scaledown_window=2)
class Kept:
    @modal.enter(snap=True)
    def load(self):
        self.state = load()

    @endpoint(method="POST")
    def ask(self, data: dict):
        return {"sum": sum(self.state[:: 1 << 20])}


@app.cls(scaledown_window=2)
class Plain:
    @modal.enter()
    def load(self):
        self.state = load()

    @endpoint(method="POST")
    def ask(self, data: dict):
        return {"sum": sum(self.state[:: 1 << 20])}

"""Functions that are treated roughly, or that treat their container so."""

import os
import time

import modal

app = modal.App("rough")
new = tuple(int(part) for part in modal.__version__.split(".")[:2]) >= (1, 3)
single_use = {"single_use_containers": True} if new else {"max_inputs": 1}
endpoint = getattr(modal, "fastapi_endpoint", None) or modal.web_endpoint


@app.function(timeout=2)
@endpoint(method="POST")
def slow(data: dict):
    time.sleep(data.get("seconds", 0))
    return {"fine": True}


@app.function(memory=(128, 128))
@endpoint(method="POST")
def greedy(data: dict):
    return {"bytes": len(b"x" * (data.get("megabytes", 0) << 20))}


@app.function(**single_use)
@endpoint(method="POST")
def once(data: dict):
    return {"task": os.environ["MODAL_TASK_ID"]}


@app.function(max_containers=1)
@endpoint(method="POST")
def patient(data: dict):
    return {"bytes": len(str(data))}


@app.function(max_containers=10)
@endpoint(method="POST")
def waits(data: dict):
    time.sleep(data.get("seconds", 0))
    return {"fine": True}


@app.function()
@endpoint(method="POST")
def misspelt(data: dict):
    exec(compile("def broken(:\n    pass\n", "/root/broken.py", "exec"))

"""For the commands that a person types: `modal run`, `modal app`, `modal container`."""

import os
import time

import modal

app = modal.App("by-hand")


@app.function()
def greet(name: str, times: int = 1) -> str:
    print("greeting", " ".join(["hello " + name] * times))
    return f"{times} greetings of {name}"


@app.function()
def where() -> str:
    return os.environ["MODAL_TASK_ID"]


@app.function()
def outlives(seconds: float = 1):
    print("began in", os.environ["MODAL_TASK_ID"])
    time.sleep(seconds)
    print("ended in", os.environ["MODAL_TASK_ID"])


@app.function()
def fails():
    raise ValueError("as it should")


@app.local_entrypoint()
def main(name: str = "you", times: int = 1):
    print(f"got {greet.remote(name, times)}")

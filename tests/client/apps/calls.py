import asyncio
import os
import threading
import time

import modal

app = modal.App("calls")
events = modal.Queue.from_name("calls-events", create_if_missing=True)


@app.function()
def square(x: int) -> int:
    return x * x


@app.function()
def add(x: int, y: int) -> int:
    return x + y


@app.function()
def odd_only(x: int) -> int:
    if x % 2 == 0:
        raise ValueError(f"even: {x}")
    return x


@app.function()
def waits(seconds: float, result):
    time.sleep(seconds)
    return result


@app.function()
async def late(x):
    await asyncio.sleep(0.01)
    return x


@app.function()
def echo(data):
    return data


@app.function()
def large(n: int) -> bytes:
    return b"x" * n


@app.function()
def parent(n: int) -> list:
    return list(square.map(range(n)))


@app.function(max_containers=1)
def sleeps_for_ever(marker: str):
    # Beside, because a cancellation in the middle of a client's call can leave that client stuck.
    threading.Thread(target=events.put, args=[os.environ["MODAL_TASK_ID"]], kwargs={"partition": marker}).start()
    try:
        time.sleep(600)
    except BaseException:
        events.put("stopped", partition=marker)
        raise


@app.function()
def waits_for_word(marker: str, wait: bool):
    if wait:
        events.get(timeout=60, partition=marker)
    return marker


@app.function()
def says(x: int):
    print("said", x)
    events.put(x, partition="said")

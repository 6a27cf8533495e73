import asyncio
import os
import time

import modal

app = modal.App("calls")


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
def count(n: int):
    for i in range(n):
        yield i


@app.function()
def breaks_after(n: int):
    yield from range(n)
    raise KeyError("the end")


@app.function()
async def count_slowly(n: int):
    for i in range(n):
        await asyncio.sleep(0)
        yield {"i": i}


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
    print("began", marker)
    try:
        time.sleep(600)
    except BaseException as error:
        print("stopped", marker, type(error).__name__)
        raise


@app.function()
def says(x: int):
    print("said", x)


@app.function()
def where() -> str:
    return os.environ["MODAL_TASK_ID"]

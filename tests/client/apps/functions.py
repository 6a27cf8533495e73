import sys
import time

import modal

app = modal.App("functions")


@app.function()
def square(x: int) -> int:
    print("squaring", x)
    return x * x


@app.function()
def fails(x: int) -> int:
    raise ValueError(f"no good: {x}")


@app.function(timeout=2)
def sleeps():
    time.sleep(60)


@app.function()
def python_version() -> tuple:
    return tuple(sys.version_info[:2])


@app.local_entrypoint()
def main():
    assert square.remote(7) == 49
    assert list(square.map(range(30))) == [x * x for x in range(30)]
    calls = [square.spawn(x) for x in range(5)]
    assert [call.get(timeout=60) for call in calls] == [0, 1, 4, 9, 16]
    try:
        fails.remote(3)
    except ValueError as error:
        print(f"caught {error}")  # one write: the container's lines come on another thread
    print(f"python {python_version.remote()}")
    print("all good")


@app.local_entrypoint()
def times_out():
    try:
        sleeps.remote()
    except modal.exception.FunctionTimeoutError:
        print("timed out as asked")

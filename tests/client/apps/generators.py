import asyncio

import modal

app = modal.App("generators")


@app.function()
def count(n: int):
    yield from range(n)


@app.function()
async def count_slowly(n: int):
    for i in range(n):
        await asyncio.sleep(0)
        yield {"i": i}


@app.function()
def breaks_after(n: int):
    yield from range(n)
    raise KeyError("the end")


@app.function()
def large(sizes: list):
    for size in sizes:
        yield b"x" * size


@app.function(timeout=4)
def endless():
    i = 0
    while True:
        yield i
        i += 1


@app.function(max_containers=1)
@modal.concurrent(max_inputs=4)
def echo_many(word: str, n: int):
    for i in range(n):
        yield f"{word}{i}"


@app.function()
def nothing():
    return
    yield


@app.function()
def relays(n: int):
    yield from count.remote_gen(n)


@app.cls()
class Numbers:
    start: int = modal.parameter(default=0)

    @modal.method()
    def up_to(self, n: int):
        for i in range(n):
            yield self.start + i

    @modal.method()
    async def up_to_async(self, n: int):
        for i in range(n):
            yield self.start + i

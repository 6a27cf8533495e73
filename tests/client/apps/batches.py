import time

import modal

app = modal.App("batches")
events = modal.Queue.from_name("batches-events", create_if_missing=True)


@app.function(max_containers=1)
@modal.batched(max_batch_size=4, wait_ms=1500)
def added(xs: list, ys: list) -> list:
    return [(x + y, len(xs)) for x, y in zip(xs, ys)]


@app.function(max_containers=1)
@modal.batched(max_batch_size=3, wait_ms=1500)
async def doubled(xs: list) -> list:
    return [(2 * x, len(xs)) for x in xs]


@app.function(max_containers=1)
@modal.batched(max_batch_size=3, wait_ms=1500)
def fails(xs: list) -> list:
    if 13 in xs:
        raise ValueError(f"one of {sorted(xs)}")
    return xs[1:] if 99 in xs else xs


@app.function(max_containers=1)
@modal.batched(max_batch_size=2, wait_ms=60000)
def slowly(xs: list) -> list:
    events.put(len(xs))
    time.sleep(2)
    return xs


@app.function()
def echo(xs: list) -> list:
    return [(x, len(xs)) for x in xs]


@app.cls(max_containers=1)
class Model:
    factor: int = modal.parameter(default=10)

    @modal.batched(max_batch_size=4, wait_ms=1500)
    def times(self, xs: list) -> list:
        return [(self.factor * x, len(xs)) for x in xs]

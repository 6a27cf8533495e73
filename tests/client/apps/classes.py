import os
import time

import modal

app = modal.App("classes")


@app.cls(scaledown_window=2, enable_memory_snapshot=True)  # what snap=True asks for
class Counter:
    """Parameters, life-cycle hooks and a state of its own for each set of parameters."""

    start: int = modal.parameter(default=0)
    name: str = modal.parameter(default="plain")

    @modal.enter(snap=True)
    def first(self):
        self.steps = ["snap"]

    @modal.enter()
    def second(self):
        self.steps.append("enter")
        self.count = self.start

    @modal.method()
    def add(self, n: int) -> int:
        self.count += n
        return self.count

    @modal.method()
    def story(self) -> dict:
        return {"steps": self.steps, "name": self.name, "start": self.start, "container": os.environ["MODAL_TASK_ID"]}

    @modal.method()
    def up_to(self, n: int):
        for i in range(n):
            yield self.start + i

    @modal.exit()
    def last(self):
        print("leaving", self.name)


@app.cls()
class Slow:
    @modal.method()
    def overlap(self, seconds: float) -> tuple:
        began = time.time()
        time.sleep(seconds)
        return (began, time.time(), os.environ["MODAL_TASK_ID"])

    @modal.method()
    def environment(self, name: str):
        return os.environ.get(name)


@app.cls()
class Sums:
    @modal.method()
    def total(self, xs: list) -> list:
        return [(x, len(xs)) for x in xs]


@app.function()
def double(x: int) -> int:
    return 2 * x


@app.function()
def asks_others(x: int) -> list:
    """From inside a container: a function of its own app, one of another app, and a class."""
    other = modal.Function.from_name("calls", "square").remote(x)
    return [double.remote(x), other, Counter(start=x, name="inner").add.remote(1)]

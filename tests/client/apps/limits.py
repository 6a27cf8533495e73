import inspect
import os
import pathlib
import time

import modal

app = modal.App("limits")
events = modal.Queue.from_name("limits-events", create_if_missing=True)
offered = set(inspect.signature(app.function).parameters)
once = {"single_use_containers": True} if "single_use_containers" in offered else {"max_inputs": 1}
slow_start = {"startup_timeout": 2} if "startup_timeout" in offered else {"timeout": 2}
# Older clients have one time-out for the start and for each input: it must leave time to start.
short = {"timeout": 1, "startup_timeout": 60} if "startup_timeout" in offered else {"timeout": 4}


@app.function(**short)
def sleeps(seconds: float):
    time.sleep(seconds)
    return seconds


@app.function(**short, max_containers=1)
def stubborn(seconds: float):
    """Does not want to end."""
    try:
        time.sleep(seconds)
    except BaseException as error:
        events.put(f"told by {type(error).__name__}", partition="stubborn")
        time.sleep(seconds)
    return seconds


@app.function(**once)
def one_each():
    return os.environ["MODAL_TASK_ID"]


@app.function(cpu=0.25, memory=192)
def small():
    return os.environ["MODAL_TASK_ID"]


@app.cls(**slow_start)
class NeverReady:
    @modal.enter()
    def start(self):
        time.sleep(600)

    @modal.method()
    def method(self):
        return "came to be"


@app.cls()
class Broken:
    @modal.enter()
    def start(self):
        raise FileNotFoundError("the weights are not there")

    @modal.method()
    def method(self):
        return "came to be"


@app.cls(**short)
class Leaves:
    """Its exit hook is run also when a call of it took too long."""

    @modal.method()
    def sleeps(self, seconds: float):
        time.sleep(seconds)

    @modal.exit()
    def last(self):
        events.put("left", partition="exit")


@app.cls(enable_memory_snapshot=True)
class Snapped:
    @modal.enter(snap=True)
    def first(self):
        self.steps = ["snap"]

    @modal.enter(snap=False)
    def second(self):
        self.steps.append("no snap")

    @modal.method()
    def story(self):
        return self.steps


@app.function(timeout=60)
def where_am_i():
    return {
        "call": modal.current_function_call_id(),
        "input": modal.current_input_id(),
        "task": os.environ["MODAL_TASK_ID"],
        "remote": not modal.is_local(),
        "image": os.environ["MODAL_IMAGE_ID"],
        "file": str(pathlib.Path(__file__)),
    }

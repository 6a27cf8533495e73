import os
import time

import modal

app = modal.App("scaling")


@app.function(scaledown_window=2)
def plain():
    return os.environ["MODAL_TASK_ID"]


@app.function(min_containers=1, scaledown_window=2)
def kept_warm():
    return os.environ["MODAL_TASK_ID"]


@app.function(max_containers=2)
def at_most_two():
    time.sleep(600)


@app.function(buffer_containers=1, scaledown_window=2)
def buffered():
    time.sleep(600)


@app.cls(scaledown_window=2)
class Model:
    size: int = modal.parameter(default=1)

    @modal.method()
    def where(self):
        return os.environ["MODAL_TASK_ID"]

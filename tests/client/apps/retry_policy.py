import inspect
import os
import time

import modal

app = modal.App("retry-policy")
attempts = modal.Queue.from_name("retries-attempts", create_if_missing=True)
quick = {"max_retries": 2, "initial_delay": 0.1, "backoff_coefficient": 1.0}
# Older clients have one time-out for the start and for each input: it must leave time to start.
both = "startup_timeout" in inspect.signature(app.function).parameters
short = {"timeout": 1, "startup_timeout": 60} if both else {"timeout": 4}


def begin(key: str) -> int:
    """Notes that an attempt began, where it outlives the container; returns how many did before it."""
    attempts.put(time.time(), partition=key)
    return attempts.len(partition=key) - 1


def go_wrong(how: str, key: str, times: int):
    attempt = begin(key)
    if attempt >= times:
        return key, attempt
    if how == "raises":
        raise ValueError(f"attempt {attempt}")
    if how == "sleeps":
        time.sleep(600)
    if how == "dies":
        os.kill(os.getpid(), 9)


@app.function(retries=1)
def once_more(key: str, times: int):
    return go_wrong("raises", key, times)


@app.function(retries=modal.Retries(max_retries=4, initial_delay=0.3, backoff_coefficient=2.0, max_delay=1.0))
def patient(key: str, times: int):
    return go_wrong("raises", key, times)


@app.function(retries=modal.Retries(**quick), **short)
def tries(how: str, key: str, times: int):
    return go_wrong(how, key, times)


@app.function(max_containers=4)
def never(how: str, key: str, times: int):
    return go_wrong(how, key, times)


@app.cls(retries=modal.Retries(**quick))
class Stubborn:
    @modal.method()
    def method(self, key: str, times: int):
        return go_wrong("raises", key, times)

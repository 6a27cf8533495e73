"""Calling a function: remote and spawn, results, exceptions, cancelling. (test_maps, test_generators have the rest.)"""

import asyncio

import modal
import pytest

EVENTS = modal.Queue.from_name("calls-events", create_if_missing=True)  # what the app's containers tell


@pytest.fixture(scope="module")
def calls(client):
    client.deploy("calls.py")
    EVENTS.clear(all=True)
    return lambda name: modal.Function.from_name("calls", name)


def test_remote_and_its_async_variant(calls):
    assert calls("square").remote(9) == 81
    assert asyncio.run(calls("late").remote.aio("x")) == "x"


def test_an_exception_comes_back_as_itself(calls):
    with pytest.raises(ValueError, match="even: 4"):
        calls("odd_only").remote(4)


@pytest.mark.parametrize("size", [1, 2 << 20, (2 << 20) + 1, 12 << 20])
def test_inputs_and_outputs_of_any_size(calls, size):
    data = b"0123456789abcdef" * (size // 16 + 1)
    assert calls("echo").remote(data) == data


def test_spawn_and_get(calls):
    call = calls("square").spawn(12)
    assert call.get(timeout=30) == 144
    assert modal.FunctionCall.from_id(call.object_id).get() == 144, "also for who has only the id"
    failed = calls("odd_only").spawn(2)
    with pytest.raises(ValueError, match="even: 2"):
        failed.get(timeout=30)


def test_get_times_out_and_the_call_goes_on(calls):
    call = calls("waits").spawn(1.5, "done")
    with pytest.raises(TimeoutError):
        call.get(timeout=0)
    with pytest.raises(TimeoutError):
        call.get(timeout=0.2)
    assert call.get(timeout=30) == "done"


def test_gather(calls):
    square = calls("square")
    assert modal.FunctionCall.gather(*[square.spawn(x) for x in range(8)]) == [x * x for x in range(8)]


CANCELLED = (modal.exception.RemoteError, modal.exception.InputCancellation, modal.exception.FunctionTimeoutError)


def test_cancel_reaches_what_runs_and_what_waits(calls):
    sleeps = calls("sleeps_for_ever")  # one container at most
    running = sleeps.spawn("one")
    assert EVENTS.get(timeout=30, partition="one").startswith("ta-")
    waiting = sleeps.spawn("two")
    waiting.cancel()
    with pytest.raises(CANCELLED):
        waiting.get(timeout=20)
    running.cancel()
    with pytest.raises(CANCELLED):
        running.get(timeout=20)
    assert EVENTS.get(timeout=30, partition="one") == "stopped", "the container was told"
    next_one = sleeps.spawn("three")
    assert EVENTS.get(timeout=30, partition="three"), "the function goes on"
    next_one.cancel()
    assert EVENTS.len(partition="two") == 0, "what was cancelled as it waited never runs"


def test_cancel_with_its_container(client, calls):
    call = calls("sleeps_for_ever").spawn("four")
    task = EVENTS.get(timeout=30, partition="four")
    call.cancel(terminate_containers=True)
    with pytest.raises(CANCELLED):
        call.get(timeout=20)
    client.wait_until(lambda: task not in [c["id"] for c in client.containers()], 40, "the container is gone")


def test_serialized_functions_and_classes(client):
    base = 10
    app = modal.App("serialized")

    def add_base(x):
        return x + base

    class Adder:
        @modal.enter()
        def start(self):
            self.base = base

        @modal.method()
        def add(self, x):
            return self.base + x

    function = app.function(serialized=True)(add_base)
    Serialized = app.cls(serialized=True)(Adder)
    with app.run():
        assert function.remote(5) == 15
        assert list(function.map([1, 2])) == [11, 12]
        assert Serialized().add.remote(7) == 17

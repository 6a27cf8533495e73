"""Every way to call a function: remote, generators, maps, spawn, and their async variants."""

import asyncio

import modal
import pytest
from conftest import CLIENT


@pytest.fixture(scope="module")
def calls(client):
    client.deploy("calls.py")
    return lambda name: modal.Function.from_name("calls", name)


def test_remote_and_its_async_variant(calls):
    assert calls("square").remote(9) == 81
    assert asyncio.run(calls("late").remote.aio("x")) == "x"


def test_an_exception_comes_back_as_itself(calls):
    with pytest.raises(ValueError, match="even: 4"):
        calls("odd_only").remote(4)


def test_generators(calls):
    assert list(calls("count").remote_gen(100)) == list(range(100))
    assert list(calls("count_slowly").remote_gen(3)) == [{"i": 0}, {"i": 1}, {"i": 2}]
    seen = []
    with pytest.raises(KeyError, match="the end"):
        for item in calls("breaks_after").remote_gen(3):
            seen.append(item)
    if CLIENT < (1, 3):  # may raise before it has handed out what came
        assert seen == [0, 1, 2][:len(seen)]
    else:
        assert seen == [0, 1, 2]


def test_async_generators(calls):
    async def collect():
        return [item async for item in calls("count").remote_gen.aio(5)]

    assert asyncio.run(collect()) == [0, 1, 2, 3, 4]


def test_maps_keep_the_order_or_not_as_asked(calls):
    square = calls("square")
    assert list(square.map(range(200))) == [x * x for x in range(200)]
    assert sorted(square.map(range(50), order_outputs=False)) == [x * x for x in range(50)]
    assert list(calls("add").starmap([(1, 2), (3, 4)])) == [3, 7]
    assert list(calls("add").map([1, 2], [10, 20])) == [11, 22]
    assert calls("square").for_each(range(5)) is None
    assert list(square.map([])) == []


def test_async_maps(calls):
    async def collect():
        return [x async for x in calls("square").map.aio(range(10))]

    assert asyncio.run(collect()) == [x * x for x in range(10)]


def test_maps_with_exceptions(calls):
    odd = calls("odd_only")
    with pytest.raises(ValueError, match="even"):
        list(odd.map(range(4)))
    wrap = {"wrap_returned_exceptions": False} if CLIENT < (1, 4) else {}
    results = list(odd.map(range(6), return_exceptions=True, **wrap))
    assert [r for r in results if isinstance(r, int)] == [1, 3, 5]
    assert len([r for r in results if isinstance(r, Exception)]) == 3
    odd.for_each(range(4), ignore_exceptions=True)


@pytest.mark.parametrize("size", [1, 2 << 20, (2 << 20) + 1, 12 << 20])
def test_inputs_and_outputs_of_any_size(calls, size):
    data = b"0123456789abcdef" * (size // 16 + 1)
    assert calls("echo").remote(data) == data


def test_a_map_of_large_inputs(calls):
    assert [len(x) for x in calls("echo").map([bytes(3 << 20)] * 4)] == [3 << 20] * 4
    assert [len(x) for x in calls("large").map([3 << 20] * 3)] == [3 << 20] * 3


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


def test_cancel_reaches_what_runs_and_what_waits(client, calls):
    sleeps = calls("sleeps_for_ever")  # one container at most
    said = lambda text: text in client.app_logs("calls")
    running = sleeps.spawn("one")
    client.wait_until(lambda: said("began one"), 30, "it runs")
    waiting = sleeps.spawn("two")
    waiting.cancel()
    with pytest.raises(CANCELLED):
        waiting.get(timeout=20)
    running.cancel()
    with pytest.raises(CANCELLED):
        running.get(timeout=20)
    client.wait_until(lambda: said("stopped one"), 30, "the container was told")
    next_one = sleeps.spawn("three")
    client.wait_until(lambda: said("began three"), 30, "the function goes on")
    next_one.cancel()
    assert not said("began two"), "what was cancelled as it waited never runs"


def test_the_call_graph_has_the_call(calls):
    call = calls("square").spawn(3)
    assert call.get(timeout=60) == 9
    (node,) = call.get_call_graph()
    assert (node.function_call_id, node.function_name, node.status.name) == (call.object_id, "square", "SUCCESS")
    assert node.task_id.startswith("ta-")


def test_containers_call_functions(calls):
    assert calls("parent").remote(4) == [0, 1, 4, 9]


def test_spawn_map(client, calls):
    assert calls("says").spawn_map(range(4)) is None, "its results are for nobody"
    client.wait_until(lambda: all(f"said {i}" in client.app_logs("calls") for i in range(4)), 30, "all of them ran")


@pytest.mark.skipif(CLIENT < (1, 1), reason="spawn_map with results came with 1.1")
def test_spawn_map_with_results(calls):
    call = calls("square").experimental_spawn_map(range(4))
    assert [call.get(timeout=30, index=i) for i in range(4)] == [0, 1, 4, 9]
    assert list(call.iter()) == [0, 1, 4, 9] and call.num_inputs() == 4


def test_serialized_functions(client):
    base = 10
    app = modal.App("serialized")

    def add_base(x):
        return x + base

    function = app.function(serialized=True)(add_base)
    with app.run():
        assert function.remote(5) == 15
        assert list(function.map([1, 2])) == [11, 12]

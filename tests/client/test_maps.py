"""Maps: order, exceptions, large data, iterators of every kind, and holding back what the grid cannot take yet."""

import asyncio

import modal
import pytest
from conftest import CLIENT

WRAP = {"wrap_returned_exceptions": False} if CLIENT < (1, 4) else {}


@pytest.fixture(scope="module")
def function(client):
    client.deploy("calls.py")
    client.deploy("classes.py")
    return lambda name: modal.Function.from_name("calls", name)


def test_maps_keep_the_order_or_not_as_asked(function):
    square = function("square")
    assert list(square.map(range(200))) == [x * x for x in range(200)]
    assert sorted(square.map(range(50), order_outputs=False)) == [x * x for x in range(50)]
    assert list(square.map([])) == []


def test_starmap_several_iterators_keywords_and_for_each(function):
    add = function("add")
    assert list(add.starmap([(1, 2), (3, 4)])) == [3, 7]
    assert list(add.map([1, 2], [10, 20])) == [11, 22]
    assert list(add.map([1, 2, 3], kwargs={"y": 100})) == [101, 102, 103]
    assert function("square").for_each(range(5)) is None


def test_unordered_results_come_as_they_are_ready(function):
    results = iter(function("waits_for_word").starmap([("late", True), ("soon", False)], order_outputs=False))
    assert next(results) == "soon"
    modal.Queue.from_name("calls-events", create_if_missing=True).put("go on", partition="late")
    assert list(results) == ["late"]


def test_async_maps_of_async_iterators(function):
    async def numbers():
        for i in range(10):
            await asyncio.sleep(0)
            yield i

    async def collect():
        square = function("square")
        return [x async for x in square.map.aio(numbers())], [x async for x in square.starmap.aio([(3,), (4,)])]

    assert asyncio.run(collect()) == ([x * x for x in range(10)], [9, 16])


def test_the_iterator_is_read_as_results_come(function):
    """An endless iterator: the caller stops when it has seen enough."""
    seen = []

    def numbers():
        i = 0
        while True:
            yield i
            i += 1

    for result in function("square").map(numbers()):
        seen.append(result)
        if len(seen) == 5:
            break
    assert seen == [0, 1, 4, 9, 16]


def test_more_inputs_than_may_wait_at_once(function):
    """The grid lets a client have 1000 inputs of a map outstanding."""
    batched = modal.Cls.from_name("classes", "Sums").with_batching(max_batch_size=100, wait_ms=50)
    assert [x for x, _ in batched().total.map(range(2500))] == list(range(2500))


def test_an_exception_ends_a_map_unless_it_is_asked_for(function):
    odd = function("odd_only")
    with pytest.raises(ValueError, match="even"):
        list(odd.map(range(4)))
    results = list(odd.map(range(6), return_exceptions=True, **WRAP))
    assert [str(r) for r in results] == ["even: 0", "1", "even: 2", "3", "even: 4", "5"]
    odd.for_each(range(4), ignore_exceptions=True)


@pytest.mark.skipif(CLIENT >= (1, 4), reason="the newest clients do not wrap exceptions")
@pytest.mark.filterwarnings("ignore")
def test_older_clients_wrap_returned_exceptions_unless_told_not_to(function):
    (result,) = function("odd_only").map([4], return_exceptions=True)
    assert type(result).__name__ == "UserCodeException" and isinstance(result.exc, ValueError)


def test_an_iterator_that_raises_ends_the_map(function):
    def numbers():
        yield 1
        raise LookupError("no more numbers")

    with pytest.raises(LookupError, match="no more numbers"):
        list(function("square").map(numbers()))
    assert function("square").remote(2) == 4


def test_large_inputs_and_outputs(function):
    assert [len(x) for x in function("echo").map([bytes(3 << 20)] * 4)] == [3 << 20] * 4
    assert [len(x) for x in function("large").map([3 << 20] * 3)] == [3 << 20] * 3


def test_a_map_inside_a_container(function):
    assert function("parent").remote(4) == [0, 1, 4, 9]


def test_spawn_map(function):
    assert function("says").spawn_map(range(4)) is None, "its results are for nobody"
    said = modal.Queue.from_name("calls-events", create_if_missing=True)
    assert sorted(said.get(timeout=30, partition="said") for _ in range(4)) == [0, 1, 2, 3], "all of them ran"


@pytest.mark.skipif(CLIENT < (1, 1), reason="spawn_map with results came with 1.1")
def test_spawn_map_with_results(function):
    call = function("square").experimental_spawn_map(range(4))
    assert [call.get(timeout=30, index=i) for i in range(4)] == [0, 1, 4, 9]
    assert list(call.iter()) == [0, 1, 4, 9] and call.num_inputs() == 4

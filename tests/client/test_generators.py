"""Generators: what a function yields arrives in order, as it comes, and whole."""

import asyncio
import concurrent.futures

import modal
import pytest
from conftest import CLIENT


@pytest.fixture(scope="module")
def function(client):
    client.deploy("generators.py")
    return lambda name: modal.Function.from_name("generators", name)


async def collected(stream):
    return [item async for item in stream]


def test_all_that_is_yielded_comes_in_order(function):
    assert list(function("count").remote_gen(1000)) == list(range(1000))
    assert list(function("count_slowly").remote_gen(3)) == [{"i": 0}, {"i": 1}, {"i": 2}]
    assert list(function("nothing").remote_gen()) == []


def test_async_variants(function):
    assert asyncio.run(collected(function("count").remote_gen.aio(5))) == [0, 1, 2, 3, 4]
    assert asyncio.run(collected(function("count_slowly").remote_gen.aio(2))) == [{"i": 0}, {"i": 1}]


def test_what_came_before_an_exception_is_handed_out(function):
    seen = []
    with pytest.raises(KeyError, match="the end"):
        for item in function("breaks_after").remote_gen(3):
            seen.append(item)
    if CLIENT < (1, 3):  # may raise before it has handed out what came
        assert seen == [0, 1, 2][:len(seen)]
    else:
        assert seen == [0, 1, 2]


def test_large_pieces_come_whole(function):
    sizes = [1, 3 << 20, 10, 2 << 20, 5 << 20]
    assert [len(piece) for piece in function("large").remote_gen(sizes)] == sizes


def test_more_than_the_grid_holds_waits_for_its_reader(function):
    sizes = [1 << 20] * 100  # 64 MiB of a stream wait at most
    assert sum(len(piece) for piece in function("large").remote_gen(sizes)) == 100 << 20


def test_a_reader_that_stops_early_stops_nobody_else(function):
    endless = function("endless")
    stream = endless.remote_gen()
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    stream.close()
    again = endless.remote_gen()
    assert next(again) == 0
    again.close()


def test_generators_run_side_by_side_in_one_container(function):
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        words = list(pool.map(lambda w: list(function("echo_many").remote_gen(w, 50)), "abc"))
    assert words == [[f"{w}{i}" for i in range(50)] for w in "abc"]


def test_generators_of_classes(function):
    numbers = modal.Cls.from_name("generators", "Numbers")(start=3)
    assert list(numbers.up_to.remote_gen(4)) == [3, 4, 5, 6]
    assert list(numbers.up_to_async.remote_gen(4)) == [3, 4, 5, 6]
    assert asyncio.run(collected(numbers.up_to.remote_gen.aio(2))) == [3, 4]


def test_a_container_reads_a_generator_and_yields_it_on(function):
    assert list(function("relays").remote_gen(5)) == [0, 1, 2, 3, 4]


def test_a_generator_cannot_be_spawned_or_mapped_by_mistake(function):
    with pytest.raises(Exception, match="generator"):
        function("count").remote(3)

"""@modal.concurrent: several inputs at once in one container."""

import concurrent.futures
import json

import modal
import pytest
from conftest import CLIENT


@pytest.fixture(scope="module")
def function(client):
    client.deploy("concurrency.py")
    return lambda name: modal.Function.from_name("concurrency", name)


def running(client, name) -> int:
    return client.function("concurrency", name)["running"]


@pytest.mark.parametrize("name", ["meets", "meets_async"])
def test_as_many_as_allowed_run_at_once_in_one_container_and_no_more(function, name):
    met = list(function(name).map([4] * 8))
    assert {most for most, _ in met} == {4}
    assert len({container for _, container in met}) == 1


def test_above_the_target_a_container_takes_more_when_no_other_can_come(function):
    met = list(function("meets_above_the_target").map([4] * 4))
    assert len({container for _, container in met}) == 1


def test_containers_are_added_by_the_target(client, function):
    waits = function("waits")
    calls = [waits.spawn() for _ in range(6)]
    try:
        client.wait_until(lambda: waits.get_current_stats().num_total_runners == 3, 30, "two inputs a container")
        client.wait_until(lambda: running(client, "waits") == 6, 30, "all run")
        stats = waits.get_current_stats()
        assert (stats.backlog, stats.num_total_runners) == (0, 3)
        if CLIENT >= (1, 3):
            assert stats.num_running_inputs == 6
        if CLIENT >= (1, 4):
            assert stats.input_headroom >= 4
    finally:
        for call in calls:
            call.cancel()


def test_web_requests_run_side_by_side(client, function):
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda _: client.post("concurrency-meets-on-the-web", {"size": 5}), range(5)))
    assert [(status, json.loads(body)) for status, _, body in answers] == [(200, {"most": 5})] * 5


def test_methods_of_a_class_share_its_slots(function):
    room = modal.Cls.from_name("concurrency", "Room")()
    calls = [room.meet.spawn(3), room.meet.spawn(3), room.meet_async.spawn(3)]
    met = modal.FunctionCall.gather(*calls)
    assert {most for most, _ in met} == {3} and len({container for _, container in met}) == 1


def test_one_input_is_cancelled_or_fails_and_those_beside_it_go_on(client, function):
    fails_or_waits = function("fails_or_waits")
    waiting = fails_or_waits.spawn("wait")
    client.wait_until(lambda: running(client, "fails_or_waits") == 1, 30, "it runs")
    with pytest.raises(ValueError, match="beside others"):
        fails_or_waits.remote("fail")
    assert fails_or_waits.remote("fine") == "fine"
    other = fails_or_waits.spawn("wait")
    client.wait_until(lambda: running(client, "fails_or_waits") == 2, 30, "both run")
    other.cancel()
    client.wait_until(lambda: running(client, "fails_or_waits") == 1, 30, "one was cancelled")
    assert fails_or_waits.remote("fine") == "fine"
    with pytest.raises(TimeoutError):
        waiting.get(timeout=0)
    waiting.cancel()


def test_what_runs_in_threads_beside_a_cancelled_input_is_run_again_elsewhere(client, function):
    """Only the end of the container cancels what runs in a thread; its other inputs start anew."""
    both = function("meets")
    alone = both.spawn(2)
    client.wait_until(lambda: running(client, "meets") == 1, 30, "it waits for another")
    other = both.spawn(3)
    client.wait_until(lambda: running(client, "meets") == 2, 30, "both wait")
    alone.cancel()
    pair = [both.spawn(3), both.spawn(3)]
    assert len(modal.FunctionCall.gather(other, *pair)) == 3, "no retries were asked for, and it cost none"


@pytest.mark.skipif(CLIENT < (1, 5), reason="functions have with_concurrency in the newest clients only")
def test_a_function_takes_more_at_once_when_the_caller_says_so(function):
    met = list(function("alone").with_concurrency(max_inputs=3).map([3] * 3))
    assert {most for most, _ in met} == {3}

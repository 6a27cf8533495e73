"""Retries: how often, when, for which ends, and what the caller sees."""

import uuid

import modal
import pytest
from conftest import CLIENT

InternalFailure = modal.exception.InternalFailure


@pytest.fixture(scope="module")
def function(client):
    client.deploy("retry_policy.py")
    return lambda name: modal.Function.from_name("retry-policy", name)


@pytest.fixture
def key():
    return uuid.uuid4().hex[:8]


def began(key: str) -> list:
    """When the attempts of a key began."""
    return modal.Queue.from_name("retries-attempts", create_if_missing=True).get_many(100, block=False, partition=key)


def test_a_number_of_retries_waits_a_second_each(function, key):
    assert function("once_more").remote(key, 1) == (key, 1)
    first, second = began(key)
    assert 1.0 <= second - first < 5


def test_the_callers_exception_is_that_of_the_last_attempt(function, key):
    with pytest.raises(ValueError, match="attempt 1"):
        function("once_more").remote(key, 9)
    assert len(began(key)) == 2


def test_back_off_and_its_limit(function, key):
    assert function("patient").remote(key, 4) == (key, 4)
    times = began(key)
    gaps = [b - a for a, b in zip(times, times[1:])]
    for gap, least in zip(gaps, [0.3, 0.6, 1.0, 1.0]):
        assert least <= gap < least + 2, gaps


@pytest.mark.parametrize("how", ["raises", "sleeps", "dies"])
def test_exceptions_time_outs_and_lost_containers_are_run_again(function, key, how):
    assert function("tries").remote(how, key, 1) == (key, 1)
    assert len(began(key)) == 2


@pytest.mark.parametrize("how, error, text", [("raises", ValueError, "attempt 2"),
                                              ("sleeps", modal.exception.FunctionTimeoutError, "timeout of [14]s"),
                                              ("dies", InternalFailure, "killed by signal 9")])
def test_when_no_retry_is_left_the_caller_is_told_why(function, key, how, error, text):
    with pytest.raises(error, match=text):
        function("tries").remote(how, key, 99)
    assert len(began(key)) == 3


def test_a_spawned_call_and_a_method_are_run_again(function, key):
    call = function("tries").spawn("dies", key, 2)
    assert call.get(timeout=60) == (key, 2)
    assert modal.Cls.from_name("retry-policy", "Stubborn")().method.remote(key + "m", 2) == (key + "m", 2)


def test_each_input_of_a_map_has_its_own_retries(function, key):
    keys = [f"{key}-{i}" for i in range(6)]
    times = [0, 1, 2, 99, 0, 1]
    wrap = {"wrap_returned_exceptions": False} if CLIENT < (1, 4) else {}
    results = list(function("tries").map(["raises"] * 6, keys, times, return_exceptions=True, **wrap))
    assert [r if isinstance(r, tuple) else str(r) for r in results] == [
        (keys[0], 0), (keys[1], 1), (keys[2], 2), "attempt 2", (keys[4], 0), (keys[5], 1)]
    assert [len(began(k)) for k in keys] == [1, 2, 3, 3, 1, 2]


def test_a_map_outlives_its_containers(function, key):
    keys = [f"{key}-{i}" for i in range(3)]
    assert list(function("tries").map(["dies"] * 3, keys, [1, 0, 1])) == [(keys[0], 1), (keys[1], 0), (keys[2], 1)]


def test_without_retries_there_is_one_attempt(function, key):
    with pytest.raises(ValueError, match="attempt 0"):
        function("never").remote("raises", key, 9)
    with pytest.raises(InternalFailure, match="killed by signal 9"):
        function("never").remote("dies", key + "d", 9)
    assert (len(began(key)), len(began(key + "d"))) == (1, 1)


def test_retries_given_at_the_call(function, key):
    if not hasattr(modal.Function, "with_options"):
        pytest.skip("functions have with_options in the newest clients only")
    again = function("never").with_options(retries=modal.Retries(max_retries=1, initial_delay=0.1))
    assert again.remote("raises", key, 1) == (key, 1)

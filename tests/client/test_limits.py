"""Limits and life-cycle of containers: time-outs, start-up, one input each, hooks, resources."""

import modal
import pytest
from conftest import CLIENT


@pytest.fixture(scope="module")
def function(client):
    client.deploy("limits.py")
    return lambda name: modal.Function.from_name("limits", name)


def event(partition: str):
    """The next thing that a container told; fails after half a minute without one."""
    return modal.Queue.from_name("limits-events", create_if_missing=True).get(timeout=30, partition=partition)


def method(name: str, method: str = "method"):
    return getattr(modal.Cls.from_name("limits", name)(), method)


def test_what_runs_too_long_is_ended_and_the_next_call_runs(function):
    with pytest.raises(modal.exception.FunctionTimeoutError, match="timeout of [14]s"):
        function("sleeps").remote(600)
    assert function("sleeps").remote(0) == 0
    call = function("sleeps").spawn(600)
    with pytest.raises(modal.exception.FunctionTimeoutError):
        call.get(timeout=30)
    wrap = {"wrap_returned_exceptions": False} if CLIENT < (1, 4) else {}
    fine, late = function("sleeps").map([0, 600], return_exceptions=True, **wrap)
    assert fine == 0 and isinstance(late, modal.exception.FunctionTimeoutError)


def test_a_function_that_will_not_end_does_not_hold_up_its_caller(function):
    with pytest.raises(modal.exception.FunctionTimeoutError):
        function("stubborn").remote(600)
    assert event("stubborn").startswith("told by ")


def test_a_container_for_each_input(function):
    tasks = [function("one_each").remote() for _ in range(3)]
    assert len(set(tasks)) == 3


def test_what_never_becomes_ready_fails_its_callers_with_the_reason(function):
    with pytest.raises(Exception, match="(?i)start-?up.*timeout of 2s"):
        method("NeverReady").remote()


def test_an_enter_hook_that_raises_is_what_the_caller_gets(function):
    with pytest.raises(FileNotFoundError, match="the weights are not there"):
        method("Broken").remote()


def test_both_kinds_of_enter_hooks_run_in_order(function):
    assert method("Snapped", "story").remote() == ["snap", "no snap"]


def test_the_exit_hook_runs_after_a_time_out(function):
    with pytest.raises(modal.exception.FunctionTimeoutError):
        method("Leaves", "sleeps").remote(600)
    assert event("exit") == "left"


def test_resources_are_what_was_asked_for(client, function):
    task = function("small").remote()
    (container,) = [c for c in client.containers() if c["id"] == task]
    assert (container["milli_cpu"], container["memory_mb"]) == (250, 192), container


def test_a_function_knows_where_it_runs(function):
    call = function("where_am_i").spawn()
    told = call.get(timeout=60)
    assert told["call"] == call.object_id and told["input"].startswith("in-")
    assert told["remote"] and told["image"].startswith("im-")

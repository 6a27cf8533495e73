"""@modal.batched: inputs of many callers in one run of the function."""

import time

import modal
import pytest
from conftest import CLIENT


@pytest.fixture(scope="module")
def function(client):
    client.deploy("batches.py")
    return lambda name: modal.Function.from_name("batches", name)


def test_a_full_batch_goes_at_once_and_the_rest_after_its_wait(function):
    assert list(function("added").map(range(4), range(4))) == [(2 * x, 4) for x in range(4)]  # the container is there
    began = time.monotonic()
    assert list(function("added").map(range(4), range(4))) == [(2 * x, 4) for x in range(4)]
    assert time.monotonic() - began < 1.4, "it did not wait for more"
    sizes = [size for _, size in function("added").starmap((x, x) for x in range(6))]
    assert max(sizes) <= 4 and len(sizes) == 6


def test_a_single_input_runs_when_nobody_joined_it(function):
    assert function("doubled").remote(21) == (42, 1)


def test_inputs_of_different_calls_share_a_batch(function):
    calls = [function("doubled").spawn(x) for x in range(3)]
    assert modal.FunctionCall.gather(*calls) == [(0, 3), (2, 3), (4, 3)]


def test_an_exception_is_that_of_the_whole_batch(function):
    calls = [function("fails").spawn(x) for x in (1, 13, 2)]
    for call in calls:
        with pytest.raises(ValueError, match=r"one of \[1, 2, 13\]"):
            call.get(timeout=30)


def test_a_batch_with_too_few_results_is_refused(function):
    with pytest.raises(Exception, match="(?i)batch|length|number of"):
        function("fails").remote(99)


def test_one_of_a_batch_is_cancelled_and_the_others_have_their_results(function):
    cancelled, kept = function("slowly").spawn("one"), function("slowly").spawn("two")
    assert modal.Queue.from_name("batches-events", create_if_missing=True).get(timeout=30) == 2, "both run"
    cancelled.cancel()
    assert kept.get(timeout=30) == "two"
    with pytest.raises((modal.exception.RemoteError, modal.exception.InputCancellation)):
        cancelled.get(timeout=0)


def test_a_batched_method_of_a_class_with_parameters(client):
    Model = modal.Cls.from_name("batches", "Model")
    assert list(Model(factor=3).times.map(range(4))) == [(3 * x, 4) for x in range(4)]


@pytest.mark.skipif(CLIENT < (1, 5), reason="functions have with_batching in the newest clients only")
def test_a_function_is_batched_when_the_caller_says_so(function):
    batched = function("echo").with_batching(max_batch_size=3, wait_ms=1500)
    assert list(batched.map(range(3))) == [(x, 3) for x in range(3)]

"""How many containers there are: minimum, maximum, buffer, window, and changing them while the app runs."""

import json
import warnings

import modal
import pytest
from conftest import CLIENT


@pytest.fixture(scope="module")
def function(client):
    client.deploy("scaling.py")
    yield lambda name: modal.Function.from_name("scaling", name)
    client.modal("app", "stop", "scaling", *(["--yes"] if CLIENT >= (1, 4) else []))


def runners(function) -> int:
    return function.get_current_stats().num_total_runners


def running(client, name) -> int:
    return client.function("scaling", name)["running"]


def update(function, **settings):
    """1.6.4 warns that `autoscaler.update` is the new name; both go to the same RPC."""
    if hasattr(function, "autoscaler"):
        return function.autoscaler.update(**settings)
    return function.update_autoscaler(**settings)


def test_a_minimum_is_there_before_any_call_and_does_not_go(client, function):
    warm = function("kept_warm")
    client.wait_until(lambda: runners(warm) == 1, 30, "one container is there")
    first = warm.remote()
    update(warm, min_containers=2)
    client.wait_until(lambda: runners(warm) == 2, 30, "two are there")
    update(warm, min_containers=0)
    client.wait_until(lambda: runners(warm) == 0, 30, "both are gone after the window")
    assert warm.remote() != first


def test_a_deployment_brings_back_what_its_code_says(client, function):
    warm = function("kept_warm")
    update(warm, min_containers=0)
    client.wait_until(lambda: runners(warm) == 0, 30, "none is there")
    client.modal("deploy", "scaling.py")
    client.wait_until(lambda: runners(function("kept_warm")) == 1, 30, "the minimum is there again")
    update(function("kept_warm"), min_containers=0)


def test_a_maximum_lets_the_rest_wait(client, function):
    two = function("at_most_two")
    calls = [two.spawn() for _ in range(4)]
    client.wait_until(lambda: running(client, "at_most_two") == 2, 30, "two run")
    stats = two.get_current_stats()
    assert (stats.backlog, stats.num_total_runners) == (2, 2)
    update(two, max_containers=3)
    client.wait_until(lambda: running(client, "at_most_two") == 3, 30, "one more may")
    assert two.get_current_stats().backlog == 1
    for call in calls:
        call.cancel()


def test_a_buffer_stands_by_while_the_function_is_in_use(client, function):
    buffered = function("buffered")
    call = buffered.spawn()
    client.wait_until(lambda: running(client, "buffered") == 1 and runners(buffered) == 2, 30,
                      "one runs, one stands by")
    call.cancel()
    client.wait_until(lambda: runners(buffered) == 0, 30, "none is needed any more")


def test_an_idle_container_goes_after_its_window_and_not_before(client, function):
    plain = function("plain")
    first = plain.remote()
    assert plain.remote() == first
    client.wait_until(lambda: runners(plain) == 0, 30, "it is gone")
    update(plain, scaledown_window=60)
    second = plain.remote()
    assert second != first and runners(plain) == 1
    update(plain, scaledown_window=2)
    client.wait_until(lambda: runners(plain) == 0, 30, "the shorter window counts for it")


@pytest.mark.skipif(not hasattr(modal.Function, "keep_warm"), reason="keep_warm is gone from the newest clients")
def test_keep_warm(client, function):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        function("plain").keep_warm(1)
        client.wait_until(lambda: runners(function("plain")) == 1, 30, "one is there")
        function("plain").keep_warm(0)
    client.wait_until(lambda: runners(function("plain")) == 0, 30, "none is there")


def test_a_parameterised_instance_is_kept_warm_by_itself(client, function):
    Model = modal.Cls.from_name("scaling", "Model")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = Model(size=7)
        one.update_autoscaler(min_containers=1)
        client.wait_until(lambda: client.containers("scaling", "Model.*"), 30, "one is there")
        first = one.where.remote()
        assert first == client.containers("scaling", "Model.*")[0]["id"]
        one.update_autoscaler(min_containers=0)
    client.wait_until(lambda: not client.containers("scaling", "Model.*"), 30, "it is gone")


def test_settings_that_cannot_be_are_refused(function):
    with pytest.raises(Exception, match="min_containers.*more than max_containers"):
        update(function("at_most_two"), min_containers=9)


@pytest.mark.skipif(CLIENT < (1, 6), reason="settings can be read since 1.6")
def test_settings_can_be_read(function):
    settings = function("at_most_two").autoscaler.update(max_containers=5, scaledown_window=30)
    assert (settings.max_containers, settings.scaledown_window) == (5, 30)
    settings = function("at_most_two").autoscaler.settings()
    assert (settings.min_containers, settings.max_containers, settings.buffer_containers) == (0, 5, 0)
    assert settings.scaledown_window == 30
    assert function("at_most_two").autoscaler.update(max_containers=None).max_containers in (None, 0)
    assert function("at_most_two").autoscaler.settings().max_containers is None


@pytest.mark.skipif(CLIENT < (1, 6), reason="Function.stats came with 1.6")
def test_stats_of_a_period(client, function):
    plain = function("plain")
    before = plain.stats().input_success_count
    plain.remote()
    client.wait_until(lambda: plain.stats().input_success_count == before + 1, 30, "the call is counted")
    stats = plain.stats()
    assert stats.input_failure_count == 0 and stats.container_started_count >= 1
    assert {"Execution time (s)", "End-to-end latency (s)"} == set(stats.input_percentile_stats)
    (startup,) = stats.container_percentile_stats.values()
    assert [p.percentile for p in startup.percentiles] == [50, 90, 99] and startup.percentiles[0].value > 0
    Model = modal.Cls.from_name("scaling", "Model")
    assert Model(size=3).where.remote() and Model(size=4).where.remote()
    sums = {}

    def counted():
        sums.update(json.loads(client.modal("function", "stats", "scaling/Model.*", "--all-variants", "--json")))
        return sums["input_success_count"] >= 2
    client.wait_until(counted, 30, "those of all sets of parameters")
    assert sums["variant_count"] >= 2


@pytest.mark.skipif(CLIENT < (1, 6), reason="Function.info came with 1.6")
def test_info_tells_the_definition(function):
    info = function("kept_warm").info()
    assert info.timeout == 300 and not info.single_use_containers

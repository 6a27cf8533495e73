"""Classes: life-cycle hooks, parameters, options at the call, and calls between functions, classes and apps."""

import modal
import pytest
from conftest import CLIENT


@pytest.fixture(scope="module")
def classes(client):
    client.deploy("calls.py")
    client.deploy("classes.py")
    return lambda name: modal.Cls.from_name("classes", name)


def test_enter_hooks_run_in_order_before_the_first_method(classes):
    story = classes("Counter")(start=5).story.remote()
    assert story["steps"] == ["snap", "enter"] and story["start"] == 5 and story["name"] == "plain"


def test_each_set_of_parameters_has_containers_of_its_own(classes):
    Counter = classes("Counter")
    one, two = Counter(start=1, name="one"), Counter(start=2, name="two")
    assert [one.add.remote(10), two.add.remote(10), one.add.remote(10)] == [11, 12, 21]
    first, second = one.story.remote(), two.story.remote()
    assert first["container"] != second["container"]
    assert (first["name"], second["name"]) == ("one", "two")


def test_a_generator_method_yields(classes):
    assert list(classes("Counter")(start=3).up_to.remote_gen(4)) == [3, 4, 5, 6]


def test_a_method_maps(classes):
    assert list(classes("Sums")().total.map([[1], [2, 3]])) == [[(1, 1)], [(2, 2), (3, 2)]]


def test_the_exit_hook_runs_when_the_container_goes(client, classes):
    classes("Counter")(name="leaver").add.remote(1)
    client.wait_until(lambda: "leaving leaver" in client.app_logs("classes"), 30, "its exit hook printed")


def test_an_unknown_method_or_parameter_is_named(classes):
    with pytest.raises(Exception, match="nothing"):
        classes("Counter")(start=1).nothing.remote()
    with pytest.raises(Exception, match="stat"):
        classes("Counter")(stat=1).add.remote(1)


def test_an_unknown_class_or_function_is_named(client):
    with pytest.raises(modal.exception.NotFoundError, match="Countre"):
        modal.Cls.from_name("classes", "Countre")().add.remote(1)
    with pytest.raises(modal.exception.NotFoundError, match="duoble"):
        modal.Function.from_name("classes", "duoble").remote(1)


def test_with_concurrency_one_container_runs_inputs_side_by_side(classes):
    slow = classes("Slow")
    slow = slow.with_concurrency(max_inputs=4) if hasattr(slow, "with_concurrency") else pytest.skip("no with_concurrency")
    slow = slow.with_options(max_containers=1)
    runs = list(slow().overlap.map([1.0] * 4))
    assert len({container for _, _, container in runs}) == 1
    assert max(began for began, _, _ in runs) < min(ended for _, ended, _ in runs), "all four at once"


def test_with_batching_inputs_come_together(classes):
    sums = classes("Sums").with_batching(max_batch_size=5, wait_ms=2000)
    assert list(sums().total.map(range(5))) == [(x, 5) for x in range(5)]


def test_with_options_gives_secrets_and_a_pool_of_its_own(classes):
    Slow = classes("Slow")
    secret = modal.Secret.from_dict({"EXTRA": "given at the call"})
    assert Slow.with_options(secrets=[secret])().environment.remote("EXTRA") == "given at the call"
    if CLIENT >= (1, 1):  # the options of 1.0's with_options stick to the class object that they were asked of
        assert Slow().environment.remote("EXTRA") is None
    assert classes("Slow")().environment.remote("EXTRA") is None
    if CLIENT >= (1, 3):
        assert Slow.with_options(env={"MORE": "and this"})().environment.remote("MORE") == "and this"


def test_with_options_timeout_is_kept(classes):
    with pytest.raises(modal.exception.FunctionTimeoutError):
        classes("Slow").with_options(timeout=1)().overlap.remote(30)


def test_containers_call_functions_classes_and_other_apps(classes):
    assert modal.Function.from_name("classes", "asks_others").remote(6) == [12, 36, 7]

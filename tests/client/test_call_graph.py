"""FunctionCall.get_call_graph: the calls that a call's inputs made, down to the last."""

import modal
import pytest


@pytest.fixture(scope="module")
def family(client):
    client.deploy("family.py")
    return lambda name: modal.Function.from_name("family", name)


def shape(node):
    """(function, status, children), the children sorted: maps and spawns run side by side."""
    return (node.function_name, node.status.name, sorted(shape(child) for child in node.children))


def test_a_call_alone(family):
    call = family("leaf").spawn(3)
    assert call.get(timeout=60) == 3
    (node,) = call.get_call_graph()
    assert (node.function_call_id, node.function_name, node.status.name) == (call.object_id, "leaf", "SUCCESS")
    assert node.module_name == "family" and node.task_id.startswith("ta-") and node.children == []


def test_children_and_theirs(client, family):
    call = modal.Cls.from_name("family", "Tree")().grow.spawn(1)
    (branch, failed), result = call.get(timeout=60)
    assert result[:2] == [1, 2]
    for spawned in (failed, result[2]):
        try:
            modal.FunctionCall.from_id(spawned).get(timeout=30)
        except ValueError as error:
            assert spawned == failed and "below zero" in str(error)
    (root,) = call.get_call_graph()
    leaves = [("leaf", "SUCCESS", [])] * 3
    assert shape(root) == ("Tree.*", "SUCCESS", [("branch", "SUCCESS", leaves), ("leaf", "FAILURE", [])])
    (below,) = modal.FunctionCall.from_id(branch).get_call_graph()
    assert shape(below) == ("branch", "SUCCESS", leaves), "the root is the call that is asked for"


def test_a_call_that_waits(client, family):
    function = family("leaf")
    call = function.spawn(1)
    (node,) = call.get_call_graph()
    assert node.status.name in ("PENDING", "SUCCESS") and node.function_call_id == call.object_id
    assert call.get(timeout=30) == 1

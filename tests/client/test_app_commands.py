"""`modal app`, `modal container`, `modal function`: what a person looks at and does by hand."""

import json

import modal
import pytest
from conftest import CLIENT

YES = ["--yes"] if CLIENT >= (1, 4) else []
new_commands = pytest.mark.skipif(CLIENT < (1, 4), reason="the client has no such command")


@pytest.fixture(scope="module")
def hand(client):
    client.deploy("hand.py")
    return lambda name: modal.Function.from_name("by-hand", name).hydrate()


def rows(grid, *command: str):
    """Each row's cells as one text: the keys differ by version."""
    return [" ".join(str(cell) for cell in row.values()) for row in json.loads(grid.modal(*command, "--json"))]


def deployed(grid) -> bool:
    return any("by-hand" in row and "deployed" in row for row in rows(grid, "app", "list"))


def test_a_deployed_app_is_listed_with_its_history_and_its_log(client, hand):
    assert hand("greet").remote("Ada") == "1 greetings of Ada"
    assert deployed(client)
    assert any("v1" in version for version in rows(client, "app", "history", "by-hand"))
    client.wait_until(lambda: "greeting hello Ada" in client.app_logs("by-hand"), 20, "the line is in the log")


@new_commands
@pytest.mark.parametrize("strategy", ["rolling", "recreate"])
def test_a_rollover_gives_new_containers_of_the_same_code(client, hand, strategy):
    before, versions = hand("where").remote(), len(rows(client, "app", "history", "by-hand"))
    client.modal("app", "rollover", "by-hand", "--strategy", strategy)
    assert hand("where").remote() != before
    assert len(rows(client, "app", "history", "by-hand")) == versions + 1


def test_a_container_is_listed_read_and_stopped(client, hand):
    call = hand("outlives").spawn(600)
    running = lambda: client.containers("by-hand", "outlives")
    client.wait_until(lambda: running() and f"began in {running()[0]['id']}" in client.app_logs("by-hand"), 60, "it runs")
    task = running()[0]["id"]
    assert any(task in row for row in rows(client, "container", "list"))
    if CLIENT >= (1, 4):
        assert f"began in {task}" in client.modal("container", "logs", task)
    client.modal("container", "stop", task, *YES)
    client.wait_until(lambda: task not in [c["id"] for c in running()], 60, "it was stopped")
    call.cancel()


@new_commands
def test_the_function_commands(client, hand):
    name, function = "by-hand/greet", hand("greet").object_id
    assert function in client.modal("function", "info", name)
    hand("greet").remote("Grace")
    client.wait_until(lambda: "greeting hello Grace" in client.modal("function", "logs", name), 20, "its line is there")
    client.modal("function", "autoscaler", "update", name, "--max-containers", "7")
    assert "7" in client.modal("function", "autoscaler", "settings", name)


@new_commands
def test_app_info_names_its_functions(client, hand):
    info = client.modal("app", "info", "by-hand")
    assert "greet" in info and hand("greet").object_id in info


def test_a_stopped_app_is_no_longer_found_and_can_be_deployed_again(client, hand):
    client.modal("app", "stop", "by-hand", *YES)
    assert not deployed(client)
    with pytest.raises(modal.exception.NotFoundError):
        hand("greet").remote("nobody")
    client.modal("deploy", "hand.py")
    assert hand("greet").remote("Ada") == "1 greetings of Ada"

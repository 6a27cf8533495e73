"""`modal app rollback`: an earlier version answers again, as a version of its own."""

import json


def word(grid) -> str:
    status, _, body = grid.post("rolls-answer", {})
    assert status == 200, body
    return json.loads(body)["word"]


def test_a_rollback_brings_the_version_before_back(grid):
    grid.modal("deploy", "rolls.py", ROLLS_WORD="first")
    assert word(grid) == "first"
    grid.modal("deploy", "rolls.py", ROLLS_WORD="second")
    assert word(grid) == "second"
    grid.modal("app", "rollback", "rolls")
    assert word(grid) == "first"
    grid.modal("app", "rollback", "rolls", "v1")  # what is in force already: asked for is done and seen
    assert word(grid) == "first"
    history = json.loads(grid.modal("app", "history", "rolls", "--json"))
    assert {version.get("version") or version.get("Version") for version in history} == {"v1", "v2", "v3", "v4"}

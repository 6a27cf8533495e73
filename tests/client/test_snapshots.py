"""Memory snapshots: what `enable_memory_snapshot=True` keeps and what is new in each copy; that a call is answered
whatever becomes of a snapshot."""

import json
import os
import pathlib
import shutil
import subprocess
import time

import modal
import pytest
from conftest import APPS, BINARY, CLIENT, Grid

SECONDS = 240  # for a snapshot to be made: criu may have to be fetched first


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """A grid of its own, which these stories kill and damage."""
    kept = os.environ.get("GRIDIRON_TEST_DATA")
    data = pathlib.Path(kept) / "snapshots" if kept else tmp_path_factory.mktemp("snapshots")
    data.mkdir(parents=True, exist_ok=True)
    grid = Grid(data)
    grid.start()
    grid.sign_in()
    before = dict(os.environ)
    os.environ.update(grid.environment)
    modal.client._Client._client_from_env = None  # it may be signed in to the other stories' grid
    grid.modal("secret", "create", "snap-word", "WORD=first", "--force")
    grid.modal("deploy", "snapped.py")
    yield grid
    os.environ.clear()
    os.environ.update(before)
    modal.client._Client._client_from_env = None
    grid.stop()
    if not kept:
        shutil.rmtree(data, ignore_errors=True)


def function(name):
    return modal.Function.from_name("snapped", name).remote


def method(of, **parameters):
    return modal.Cls.from_name("snapped", of)(**parameters).story.remote


def alone(grid):
    grid.wait_until(lambda: not grid.containers("snapped"), 60, "no container of the app is left")


def cold(grid, call) -> dict:
    """What the call's container tells, which was started for it."""
    alone(grid)
    return call()


def folders(grid) -> list:
    return [folder for folder in (grid.data / "worker" / "snapshots").glob("*") if (folder / "record.json").exists()]


def began(grid, container: str) -> list:
    """The phases of its start by name."""
    return [phase["name"] for phase in grid.admin("trace", container)["inputs"][0]["phases"]]


def restored(grid, call, key="loaded") -> tuple:
    """(what the original told, what a copy of it told)"""
    told = {}
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        one = cold(grid, call)
        if one[key] in told:
            return told[one[key]], one
        told[one[key]] = one
    raise AssertionError(f"no container went on from a snapshot in {SECONDS} s\n" + grid.tail())


def test_a_function_goes_on_where_its_first_container_was_kept(client):
    first, copy = restored(client, function("plain"))
    assert copy["container"] != first["container"]
    assert copy["draw"] != first["draw"]
    assert "restore" in began(client, copy["container"])
    client.wait_until(lambda: f"plain runs in {copy['container']}" in client.app_logs("snapped"), 30, "its log")


def test_a_class_runs_what_is_kept_once_and_the_rest_in_each_container(client):
    first, copy = restored(client, method("Model"), "model")
    third = cold(client, method("Model"))
    assert third["model"] == copy["model"] == first["model"] == third["weights"]
    for one in (first, copy, third):
        assert one["steps"] == ["load", "ready in " + one["container"]]
    assert len({one["draw"] for one in (first, copy, third)}) == 3, "all were seeded alike before"
    alone(client)
    assert list(modal.Cls.from_name("snapped", "Model")().count.remote_gen(3)) == [0, 1, 2]


def test_each_set_of_parameters_has_a_snapshot_of_its_own(client):
    _, copy = restored(client, method("Model", name="other"), "model")
    assert copy["name"] == "other"
    _, plain = restored(client, method("Model"), "model")
    assert plain["name"] == "plain" and plain["model"] != copy["model"]


def test_a_web_endpoint_goes_on_too_and_says_so(client):
    def ask():
        status, headers, body = client.post("snapped-web", {"n": 1})
        assert status == 200, body
        return {**json.loads(body), "timing": headers["server-timing"]}
    _, copy = restored(client, ask)
    assert copy["data"] == {"n": 1} and "restore;dur=" in copy["timing"]
    again = ask()
    assert again["container"] == copy["container"] and "restore" not in again["timing"]


def test_snapshots_outlive_a_kill_of_control_and_worker(client):
    _, copy = restored(client, method("Model"), "model")
    client.kill()
    (client.data / "worker" / "snapshots" / ".making-half").mkdir()
    client.start()
    assert cold(client, method("Model"))["model"] == copy["model"]
    assert not (client.data / "worker" / "snapshots" / ".making-half").exists()


def test_a_secret_that_changes_is_seen(client):
    _, copy = restored(client, function("worded"))
    assert copy["word"] == "first"
    client.modal("secret", "create", "snap-word", "WORD=second", "--force")
    changed = cold(client, function("worded"))
    assert changed["word"] == "second" and changed["loaded"] != copy["loaded"]
    _, copy = restored(client, function("worded"))
    assert copy["word"] == "second"


# --- failures: the call is answered all the same ---

def test_images_that_were_cut_short_are_made_anew(client):
    _, copy = restored(client, function("plain"))
    for pages in (client.data / "worker" / "snapshots").glob("*/images/pages-*.img"):
        os.truncate(pages, 4096)
    assert cold(client, function("plain"))["loaded"] != copy["loaded"]
    restored(client, function("plain"))


def test_images_that_make_no_sense_lead_to_another_start(client):
    _, copy = restored(client, function("plain"))
    for core in (client.data / "worker" / "snapshots").glob("*/images/core-*.img"):
        core.write_bytes(b"\xff" * core.stat().st_size)
    for _ in range(3):
        assert cold(client, function("plain"))["loaded"] != copy["loaded"]
    client.wait_until(lambda: "failed 3 times in a row" in client.app_logs("snapped"), 30, "it is said to be retired")
    assert cold(client, function("plain"))["word"] is None


def test_a_restore_that_waits_for_ever_is_given_up(client):
    _, copy = restored(client, method("Model", name="slow"), "model")
    for folder in folders(client):  # as long as their record says
        record = json.loads((folder / "record.json").read_text())
        for pages in (folder / "images").glob("pages-*.img"):
            os.truncate(pages, 4096)
            record["images"][pages.name] = 4096
        (folder / "record.json").write_text(json.dumps(record))
    client.kill()
    client.start()
    assert cold(client, method("Model", name="slow"))["model"] != copy["model"]


def test_what_cannot_be_kept_runs_on_and_is_not_tried_for_ever(client):
    containers = {cold(client, method("Connected"))["container"] for _ in range(4)}
    assert len(containers) == 4
    client.wait_until(lambda: client.app_logs("snapped").count("is not tried any more") >= 1, 30, "it is retired")


def test_a_copy_that_dies_at_once_is_replaced(client):
    first = cold(client, method("Mortal"))
    client.wait_until(lambda: "a memory snapshot was made of it" in client.tail(20000), 30, "it was kept")
    second = cold(client, method("Mortal"))
    assert second["loaded"] != first["loaded"]
    # Noticed by who restored it, or a moment later by who waits for its first word.
    said = client.tail(20000)
    assert "it ended as soon as it was restored" in said or "before it asked the grid for anything" in said


def test_without_criu_starts_are_plain_and_doctor_says_so(client, monkeypatch):
    client.stop()
    monkeypatch.setenv("GRIDIRON_CRIU_ROOT", "/nonexistent")
    client.start()
    first, second = cold(client, method("Model", name="without")), cold(client, method("Model", name="without"))
    assert first["model"] != second["model"]
    said = subprocess.run([BINARY, "doctor"], capture_output=True, text=True).stdout
    assert "no criu at /nonexistent" in said
    monkeypatch.undo()
    client.stop()
    client.start()


# --- the end ---

def test_a_snapshot_goes_with_its_definition_and_its_app(client, tmp_path):
    # One that no story above has damaged.
    _, copy = restored(client, method("Model", name="last"), "model")
    text = (APPS / "snapped.py").read_text()
    (tmp_path / "snapped.py").write_text(text.replace('["load"]', '["load", "newer"]'))
    client.modal("deploy", str(tmp_path / "snapped.py"))
    newer = cold(client, method("Model", name="last"))
    assert newer["model"] != copy["model"] and "newer" in newer["steps"]
    restored(client, method("Model", name="last"), "model")
    assert folders(client)
    client.modal("app", "stop", "snapped", *(["--yes"] if CLIENT >= (1, 4) else []))
    client.wait_until(lambda: not folders(client), 30, "no snapshot of the app is left")

"""Starts that are forks of a zygote. Each story waits for its container's scaledown window, which is 2 s at least."""

import json
import os
import pathlib
import signal

import pytest


@pytest.fixture(scope="module")
def cold(grid):
    grid.modal("secret", "create", "--force", "cold-secret", "COLD_SECRET=one")
    grid.deploy("cold.py")
    return grid


def start(grid):
    """(facts, how it began) of a call that finds no container."""
    grid.wait_until(lambda: not [c for c in grid.containers() if c["app"] == "cold"], 20, "scaled to zero")
    status, headers, body = grid.post("cold-facts", {})
    assert status == 200, body
    return json.loads(body), headers["server-timing"]


def zygotes_made(grid):
    return (grid.data / "grid.log").read_text(errors="replace").count("zygote of image ")


def zygotes(grid):
    """Pids of zygotes, the children of nurseries, that this grid has."""
    found = []
    for folder in pathlib.Path("/proc").iterdir():
        try:
            line = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            over = int(pathlib.Path(f"/proc/{parent}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError):
            continue
        if b"gridiron_zygote" in line and over == grid.process.pid:
            found.append(int(folder.name))
    return found


def test_the_second_start_is_a_fork_and_the_third_has_what_the_second_imported(cold):
    first, how = start(cold)
    assert "boot;" in how or "fork;" in how
    cold.wait_until(lambda: zygotes(cold), 30, "a zygote of the image is ready")
    made = zygotes_made(cold)
    second, how = start(cold)
    assert "fork;" in how, how + "\n" + cold.tail()
    if not second["had"]:
        cold.wait_until(lambda: zygotes_made(cold) > made, 30, "there is one that has learnt")
    third, how = start(cold)
    assert "fork;" in how and third["had"], how
    for forked in second, third:
        assert [forked[key] for key in ("main", "path", "argv")] == [first[key] for key in ("main", "path", "argv")]
        assert (forked["left"], forked["leaked"], forked["secret"]) == (False, None, "one")
    assert not set(second["drawn"]) & set(third["drawn"]) and second["task"] != third["task"]
    cold.modal("secret", "create", "--force", "cold-secret", "COLD_SECRET=two")
    shown = [zygote for worker in cold.admin("status")["workers"] for zygote in worker["zygotes"]]
    assert any(zygote["starts"] >= 2 and zygote["memory_bytes"] > 30 << 20 for zygote in shown), shown
    fourth, how = start(cold)
    assert fourth["secret"] == "two" and "fork;" in how, how


def test_a_start_whose_zygote_has_been_killed_is_a_plain_one(cold):
    cold.wait_until(lambda: zygotes(cold), 30, "a zygote of the image is ready")
    for pid in zygotes(cold):
        os.kill(pid, signal.SIGKILL)
    _, how = start(cold)
    assert 'boot;' in how and "its zygote has ended" in how, how


def test_a_variable_that_imports_read_makes_a_start_plain(cold):
    cold.wait_until(lambda: zygotes(cold), 30, "a zygote of the image is ready")
    cold.modal("secret", "create", "--force", "cold-secret", "COLD_SECRET=one", "OMP_NUM_THREADS=1")
    _, how = start(cold)
    assert "OMP_NUM_THREADS is the container's own" in how, how

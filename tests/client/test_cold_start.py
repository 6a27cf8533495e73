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


def shown(grid):
    return [zygote for worker in grid.admin("status")["workers"] for zygote in worker["zygotes"]]


def is_fork(how):
    return "fork;" in how or "parked;" in how


def start_fork(grid, what=lambda facts: True):
    """The first start that is a fork and of which `what` is true: its zygote is made in the background."""
    for _ in range(10):
        facts, how = start(grid)
        if is_fork(how) and what(facts):
            return facts, how
    raise AssertionError(how + "\n" + grid.tail())


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


def test_a_later_start_is_a_fork_and_one_after_it_has_what_it_imported(cold):
    first, how = start(cold)
    assert "boot;" in how or is_fork(how)
    second, _ = start_fork(cold)
    third, _ = start_fork(cold, lambda facts: facts["had"])
    for forked in second, third:
        assert [forked[key] for key in ("main", "path", "argv")] == [first[key] for key in ("main", "path", "argv")]
        assert (forked["left"], forked["leaked"], forked["secret"]) == (False, None, "one")
    assert not set(second["drawn"]) & set(third["drawn"]) and second["task"] != third["task"]
    cold.wait_until(lambda: any(z["starts"] >= 2 and z["memory_bytes"] > 30 << 20 for z in shown(cold)), 20, "it is shown")
    cold.modal("secret", "create", "--force", "cold-secret", "COLD_SECRET=two")
    fourth, how = start(cold)
    assert fourth["secret"] == "two" and is_fork(how), how


def test_the_next_start_finds_a_container_that_is_there_already(cold):
    start_fork(cold)
    cold.wait_until(lambda: any(zygote["parked"] > 0 for zygote in shown(cold)), 30, "one is parked")
    facts, how = start(cold)
    assert "parked;" in how, how + "\n" + cold.tail()
    assert (facts["left"], facts["leaked"]) == (False, None) and facts["main"] == "modal._container_entrypoint"
    other, _ = start_fork(cold)
    assert not set(facts["drawn"]) & set(other["drawn"])


def test_a_trace_tells_where_the_time_went(cold):
    facts, how = start(cold)
    (traced,) = cold.admin("trace", facts["task"])["inputs"]
    assert traced["cold"] and traced["function"] == "facts", traced
    # The answer is out before the container has said that the input is done with.
    assert (traced["run_ms"] is None) == (traced["outcome"] == "running"), traced
    cold.wait_until(lambda: (cold.admin("trace", facts["task"])["inputs"][0]["run_ms"] or 0) > 0, 20, "it is done with")
    assert {"queue", "interpreter", "import"} <= {phase["name"] for phase in traced["phases"]}
    summary = cold.admin("trace", "--cold", "cold/facts")
    assert summary["starts"] >= 1 and summary["total"]["p99_ms"] >= summary["total"]["p50_ms"] > 0
    assert summary["dearest"].split(":")[0] in {phase["name"] for phase in summary["phases"]}


def test_what_is_deployed_has_its_zygote_before_the_first_call(cold):
    before = {zygote["image_id"] for zygote in shown(cold)}
    cold.deploy("ahead.py")
    cold.wait_until(lambda: {zygote["image_id"] for zygote in shown(cold)} - before, 60, "it is begun at the deploy")
    status, headers, body = cold.post("ahead-first", {})
    assert status == 200 and is_fork(headers["server-timing"]), headers["server-timing"]


def test_a_start_whose_zygote_has_been_killed_is_a_plain_one(cold):
    forked, _ = start_fork(cold)
    for pid in zygotes(cold):
        os.kill(pid, signal.SIGKILL)
    plain, how = start(cold)
    assert "boot;" in how and "ended" in how, how
    assert [plain[key] for key in ("main", "path", "argv")] == [forked[key] for key in ("main", "path", "argv")]


def test_a_variable_that_imports_read_makes_a_start_plain(cold):
    start_fork(cold)
    cold.modal("secret", "create", "--force", "cold-secret", "COLD_SECRET=one", "OMP_NUM_THREADS=1")
    _, how = start(cold)
    assert "OMP_NUM_THREADS is the container's own" in how, how

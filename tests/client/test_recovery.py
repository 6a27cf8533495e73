"""What stays, and what must not: redeploys under load, logs over restarts, nothing left behind by a kill."""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest
from conftest import APPS, CLIENT

COLD_STARTS = int(os.environ.get("GRIDIRON_COLD_STARTS", "20"))
VERSIONED = """
import modal
app = modal.App("versioned")
endpoint = getattr(modal, "fastapi_endpoint", None) or modal.web_endpoint

@app.function(max_containers=2)
@endpoint(method="POST")
def which(data: dict):
    print("version {0} answers")
    return {{"version": {0}}}
"""


@pytest.fixture(scope="module")
def rough(grid):
    grid.modal("deploy", "rough.py")
    return grid


def deploy_version(grid, folder: pathlib.Path, version: int):
    path = folder / "versioned.py"
    path.write_text(VERSIONED.format(version))
    grid.modal("deploy", str(path))


class Following:
    """`modal app logs` of an app, following, in another process; its lines as they come."""

    def __init__(self, grid, app: str):
        follow = ["-f"] if CLIENT >= (1, 4) else []
        self.lines = []
        self.process = subprocess.Popen([sys.executable, "-u", "-m", "modal", "app", "logs", app, *follow], cwd=APPS,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        env={**os.environ, **grid.environment})
        threading.Thread(target=lambda: self.lines.extend(iter(self.process.stdout.readline, "")), daemon=True).start()

    def has(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def leftovers(grid) -> dict:
    """What this grid's containers have on the machine, by kind. Zygotes and parked containers stay for the next ones: they
    are counted by the story of cold starts in a row. A parked one that was taken keeps its name: it is in the status."""
    return {"containers": grid.containers(),
            **{kind: [one for one in found if "zygote-" not in str(one) and "parked-" not in str(one)]
               for kind, found in everything(grid).items() if kind != "links"}}


def everything(grid) -> dict:
    """What this grid has on the machine outside its files, by kind; its parents (bridge, rules, groups) aside."""
    name = hashlib.sha256(str(grid.data.resolve()).encode()).hexdigest()[:6]
    prefix = "gv" + hashlib.sha256(name.encode()).hexdigest()[:5]
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout.splitlines()
    parents = (f"gridiron-{name}", "prompt", "patient")
    groups = [g for g in pathlib.Path("/sys/fs/cgroup").glob(f"*/gridiron-{name}/**/") if g.name not in parents]
    groups += [g for g in pathlib.Path("/sys/fs/cgroup").glob(f"gridiron-{name}/**/") if g.name not in parents]
    processes = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            # A zombie has ended: its parent, not the grid's to be, only has not asked yet. One that has no command line
            # any more is ending: the first of a pid namespace waits for the last.
            ended = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
            ended = ended or not (entry / "cmdline").read_text()
            if not ended and f"gridiron-{name}" in (entry / "cgroup").read_text():
                processes.append((entry.name, (entry / "cmdline").read_text().replace("\0", " "),
                                  (entry / "cgroup").read_text()))
        except OSError:
            pass  # it has ended
    unix = pathlib.Path("/proc/net/unix").read_text().splitlines()
    # Namespaces that somebody outside the grid's processes is in would be its processes; a named or bound one is a mount.
    named = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout.splitlines()
    return {
        "mounts": [m for m in pathlib.Path("/proc/mounts").read_text().splitlines() if str(grid.data) in m],
        "groups": sorted(map(str, groups)),
        "links": [link for link in links if prefix in link],
        "processes": processes,
        "namespaces": [line for line in named if name in line],
        "sockets": [line for line in unix if f"{grid.data}/worker" in line],
        "boxes": sorted(str(p) for p in (grid.data / "worker").glob("sandboxes/boxes/*")) +
                 sorted(str(p) for p in (grid.data / "worker").glob("containers/*")),
    }


def leftovers_of_the_grid(grid) -> dict:
    """What a grid itself has while it runs, and must not have when it has ended in good order."""
    name = hashlib.sha256(str(grid.data.resolve()).encode()).hexdigest()[:6]
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout.splitlines()
    tables = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True).stdout.splitlines()
    unix = pathlib.Path("/proc/net/unix").read_text().splitlines()
    # Sockets that listen: state 0A, the port in hexadecimal behind the address.
    listening = [line for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()
                 if line.split()[1].endswith(f":{grid.port:04X}") and line.split()[3] == "0A"]
    return {
        "groups": [str(g) for g in [*pathlib.Path("/sys/fs/cgroup").glob(f"gridiron-{name}"),
                                    *pathlib.Path("/sys/fs/cgroup").glob(f"*/gridiron-{name}")]],
        "links": [link for link in links if f"gridiron{name}" in link],
        "rules": [line for line in tables if name in line],
        "sockets": [line for line in unix if str(grid.data) in line],
        "listeners": listening,
    }


def zygotes_of(grid) -> list:
    return [zygote for worker in grid.admin("status")["workers"] for zygote in worker["zygotes"]]


def nothing_left(grid) -> bool:
    return not any(leftovers(grid).values())


def test_a_redeploy_under_load_loses_no_request(grid, tmp_path):
    deploy_version(grid, tmp_path, 1)
    assert json.loads(grid.post("versioned-which", {})[2]) == {"version": 1}
    done = threading.Event()

    def client():
        answers = []
        while not done.is_set():
            status, _, body = grid.post("versioned-which", {})
            answers.append((status, body))
        return answers

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        clients = [pool.submit(client) for _ in range(10)]
        try:
            deploy_version(grid, tmp_path, 2)
            grid.wait_until(lambda: b'{"version":2}' in grid.post("versioned-which", {})[2], 30, "the new one answers")
        finally:
            done.set()
        answers = [answer for c in clients for answer in c.result()]
    assert {answer for answer in answers if answer[0] != 200} == set()
    assert {b'{"version":1}', b'{"version":2}'} == {body for _, body in answers}
    assert json.loads(grid.post("versioned-which", {})[2]) == {"version": 2}


def test_logs_follow_live_and_are_there_after_a_restart(grid, tmp_path):
    deploy_version(grid, tmp_path, 31)
    with Following(grid, "versioned") as following:
        def called_and_seen():  # the follower may not be there yet at the first call
            grid.post("versioned-which", {})
            return following.has("version 31 answers")
        grid.wait_until(called_and_seen, 30, "the line has come")
    grid.stop()
    grid.start()
    if CLIENT >= (1, 4):
        assert "version 31 answers" in grid.modal("app", "logs", "versioned", "--tail", "1000")
    else:
        with Following(grid, "versioned") as following:
            grid.wait_until(lambda: following.has("version 31 answers"), 20, "the past line has come")


BUILT = """
import modal
app = modal.App("built")
endpoint = getattr(modal, "fastapi_endpoint", None) or modal.web_endpoint
image = modal.Image.debian_slim()
if {0}:
    image = image.run_commands("echo made-{0}-$((6*7)); echo made-{0}-too")
print("imported {0}")

@app.function(image=image)
@endpoint(method="POST")
def first(data: dict):
    print("first of {0} runs")
    return {{"version": {0}}}

@app.function(image=image)
@endpoint(method="POST")
def second(data: dict):
    return {{"version": {0}}}
"""


def test_logs_show_the_build_once_and_the_container_and_the_function(grid, tmp_path):
    path = tmp_path / "built.py"
    path.write_text(BUILT.format(0))
    grid.modal("deploy", str(path))
    version = 1 + time.time_ns() % 10**9  # an image that no kept folder has
    with Following(grid, "built") as following:
        grid.post("built-first", {})
        grid.wait_until(lambda: following.has("first of 0 runs") or not grid.post("built-first", {}), 60, "it follows")
        path.write_text(BUILT.format(version))
        grid.modal("deploy", str(path))
        grid.post("built-first", {})
        for text in (f"made-{version}-42", f"imported {version}", f"first of {version} runs"):
            grid.wait_until(lambda: following.has(text), 30, f"{text!r} has come: {following.lines}")
        printed = [line for line in following.lines if f"made-{version}-42" in line]
        assert len(printed) == 1, printed


def test_cold_starts_in_a_row_leave_nothing_behind(rough):
    rough.stop()
    rough.start()
    tasks = set()
    for _ in range(COLD_STARTS):
        status, headers, body = rough.post("rough-once", {})
        assert status == 200 and "sandbox" in headers["server-timing"], (status, body)
        tasks.add(json.loads(body)["task"])
    assert len(tasks) == COLD_STARTS
    rough.wait_until(lambda: nothing_left(rough), 30, f"nothing is left: {leftovers(rough)}")

    def shown_are_those_that_are_there():
        found, zygotes = everything(rough), zygotes_of(rough)
        parked = sum(zygote["parked"] for zygote in zygotes)
        return (len([box for box in found["boxes"] if "/boxes/zygote-" in box]) == len(zygotes)
                and len([box for box in found["boxes"] if "/boxes/parked-" in box]) == len(found["links"]) == parked)

    try:
        rough.wait_until(shown_are_those_that_are_there, 30, "zygotes and parked containers are those that are shown")
    except AssertionError as error:  # with what there is then, not before
        raise AssertionError(f"{everything(rough)}, {zygotes_of(rough)}") from error


def test_a_kill_amid_ten_requests_leaves_nothing_behind(rough):
    rough.wait_until(lambda: nothing_left(rough), 90, "no container is there")
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        requests = [pool.submit(rough.post, "rough-waits", {"seconds": 300}) for _ in range(10)]
        rough.wait_until(lambda: len([c for c in rough.containers() if c["state"] in ("busy", "running", "ready")]) >= 5
                         or all(r.done() for r in requests), 60, f"containers run: {rough.containers()}")
        before = everything(rough)
        assert before["processes"]
        rough.kill()
        for request in requests:
            assert request.exception() is not None
    rough.start()
    # Zygotes of what is deployed are made anew.
    left = {kind: [one for one in found if one in before[kind]] for kind, found in everything(rough).items()}
    assert not any(left.values()), left
    assert rough.post("rough-waits", {})[0] == 200
    held = leftovers_of_the_grid(rough)
    assert all(held.values()), held  # what is looked for is there while the grid runs
    rough.stop()
    left = {**everything(rough), **{f"{kind} of the grid": found for kind, found in leftovers_of_the_grid(rough).items()}}
    rough.start()
    assert not any(left.values()), left

"""What a start may come from: nothing of another deployment, image, secret or client; and what imports of it cost."""

import json
import os
import subprocess
import sys
import time

import pytest

from conftest import APPS, CLIENT, TOP


class Kinds:
    """The app kinds, deployed as it is changed."""

    def __init__(self, grid, folder):
        self.grid, self.file = grid, folder / "kinds.py"
        self.image, self.code, self.secret = "a", "one", "one"
        self.others = {zygote["image_id"] for zygote in self.all_zygotes()}
        self.keep_secret("one")

    def keep_secret(self, value):
        self.secret = value
        self.grid.modal("secret", "create", "--force", "kinds-secret", f"KINDS_SECRET={value}")

    def deploy(self, python=sys.executable, **changes):
        vars(self).update(changes)
        text = (APPS / "kinds.py").read_text()
        self.file.write_text(text.replace('"IMAGE"', repr(self.image)).replace('"CODE"', repr(self.code)))
        done = subprocess.run([python, "-m", "modal", "deploy", self.file], capture_output=True, text=True, timeout=600,
                              env={**os.environ, **self.grid.environment})
        assert done.returncode == 0, done.stdout + done.stderr + self.grid.tail()

    def all_zygotes(self):
        return [zygote for worker in self.grid.admin("status")["workers"] for zygote in worker["zygotes"]]

    def zygotes(self):
        return [zygote for zygote in self.all_zygotes() if zygote["image_id"] not in self.others]

    def start(self, client):
        """How a call began that found no container; what it found is of this deployment."""
        self.grid.wait_until(lambda: not self.grid.containers("kinds"), 20, "scaled to zero")
        status, headers, body = self.grid.post("kinds-what", {})
        assert status == 200, body
        expected = {"image": self.image, "code": self.code, "secret": self.secret, "client": client}
        assert json.loads(body) == expected, headers["server-timing"]
        return headers["server-timing"]

    def start_fork(self, client):
        for _ in range(10):
            how = self.start(client)
            if "fork;" in how or "parked;" in how:
                return how
        raise AssertionError(how + self.grid.tail())

    def await_parked(self):
        self.grid.wait_until(lambda: any(zygote["parked"] for zygote in self.zygotes()), 40, "one is parked")


@pytest.fixture
def kinds(grid, tmp_path):
    return Kinds(grid, tmp_path)


def mine():
    import modal
    return modal.__version__


def test_what_waits_of_an_earlier_deployment_is_never_used_and_is_let_go(kinds):
    kinds.deploy()
    kinds.start_fork(mine())
    kinds.await_parked()
    kinds.deploy(code="two")
    kinds.grid.wait_until(lambda: not any(z["parked"] for z in kinds.zygotes()), 20, "the one of the old code is let go")
    kinds.start(mine())
    kinds.await_parked()
    kinds.keep_secret("two")
    assert "parked;" in kinds.start(mine()), "a secret is read when it is taken"
    kinds.await_parked()
    kinds.deploy(image="b")
    kinds.start(mine())
    kinds.start_fork(mine())
    kinds.await_parked()
    kinds.grid.modal("app", "stop", "kinds", *(["--yes"] if CLIENT >= (1, 4) else []))
    kinds.grid.wait_until(lambda: not any(z["parked"] for z in kinds.zygotes()), 20, "nothing waits for a stopped app")


@pytest.mark.skipif(CLIENT < (1, 6), reason="told with the newest client, beside which it drives an older one")
def test_each_client_version_has_zygotes_of_its_own(kinds):
    other = "1.3.5"
    venv = subprocess.run([TOP / "tools" / "client-venv", other], capture_output=True, text=True, check=True).stdout
    kinds.deploy(image="clients")
    kinds.start_fork(mine())
    kinds.await_parked()
    kinds.deploy(python=venv.strip() + "/bin/python")
    kinds.start(other)
    kinds.start_fork(other)
    kinds.grid.wait_until(lambda: {z["client_version"] for z in kinds.zygotes()} == {mine(), other}, 20, "both are kept")
    kinds.deploy()
    kinds.start_fork(mine())


def test_a_package_that_does_not_survive_a_fork_is_left_out_and_the_trace_says_what_it_costs(grid):
    grid.deploy("unsafe.py")

    def version():
        grid.wait_until(lambda: not grid.containers("unsafe"), 20, "scaled to zero")
        status, headers, body = grid.post("unsafe-version", {})
        assert status == 200, body
        return headers["server-timing"]

    def left_out():
        return [line for worker in grid.admin("status")["workers"] for z in worker["zygotes"] for line in z["left_out"]]

    def is_left_out():
        version()
        return any(line == "grpc (known not to survive a fork)" for line in left_out())
    grid.wait_until(is_left_out, 60, "the zygote was told of it")
    assert "grpc (known not to survive a fork)" in (grid.data / "grid.log").read_text()
    how = version()
    assert "fork;" in how or "parked;" in how, how
    summary = grid.admin("trace", "--cold", "unsafe/version")
    (imports,) = [phase for phase in summary["phases"] if phase["name"] == "import"]
    parts = {part["name"]: part for part in imports["parts"]}
    assert not parts["grpc"]["own"] and parts["unsafe"]["own"] and parts["grpc"]["p50_ms"] > parts["unsafe"]["p50_ms"]
    if summary["dearest"].startswith("import"):
        assert "grpc" in summary["dearest"] and "known not to survive a fork" in summary["dearest"]


def test_the_hooks_of_a_class_are_a_phase_of_their_own(grid):
    grid.deploy("hooked.py")
    found = {}

    def is_timed():
        grid.wait_until(lambda: not grid.containers("hooked"), 20, "scaled to zero")
        call = "import modal; print(modal.Cls.from_name('hooked', 'Model')().answer.remote(1))"
        done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, timeout=120,
                              env={**os.environ, **grid.environment})
        assert done.stdout.strip() == "2", done.stderr
        summary = grid.admin("trace", "--cold", "hooked/Model.*")
        found.update({phase["name"]: phase for phase in summary["phases"]})
        return "enter" in found
    grid.wait_until(is_timed, 60, "a fork was looked into")
    assert found["enter"]["p99_ms"] >= 300, found


@pytest.mark.skipif(CLIENT < (1, 1), reason="apps have no tags in this client")
def test_a_regular_request_finds_a_container_that_was_started_for_it(grid):
    grid.deploy("regular.py")

    def ahead():
        return grid.function("regular", "tick")["ahead"] or {"hits": 0, "started": 0}
    next_at = time.monotonic()
    for _ in range(20):
        grid.wait_until(lambda: time.monotonic() >= next_at, 10, "the next is due")
        next_at += 4
        assert grid.post("regular-tick", {})[0] == 200
        if ahead()["hits"] > 0:
            break
    assert ahead()["hits"] > 0, (ahead(), grid.tail())
    (totals,) = [row for row in grid.admin("usage", "--function", "tick")["totals"] if row["app"] == "regular"]
    assert totals["ahead_containers"] >= totals["ahead_hits"] >= 1 and totals["ahead_unused_seconds"] < 60


def test_a_trace_is_known_over_a_restart_of_the_grid(grid):
    grid.deploy("ahead.py")
    status, headers, _ = grid.post("ahead-first", {})
    assert status == 200
    before = grid.admin("trace", "--cold", "ahead/first")
    grid.wait_until(lambda: not grid.containers("ahead"), 20, "scaled to zero")
    grid.stop()
    grid.start()
    after = grid.admin("trace", "--cold", "ahead/first")
    assert after["starts"] >= before["starts"] >= 1
    assert {phase["name"] for phase in before["phases"]} <= {phase["name"] for phase in after["phases"]}

"""The official clients for JavaScript and Go, driven by their own test runners (js/, go/) against one grid; run-js-go
names the toolchains. Apps are deployed by the Python client, as the other two cannot."""

import os
import pathlib
import re
import subprocess

import pytest
from conftest import Grid

HERE = pathlib.Path(__file__).parent
TOOLS = pathlib.Path(os.environ["CLIENT_TOOLS"])


@pytest.fixture(scope="module")
def apps(grid):
    for app in ("calls.py", "classes.py", "rolls.py"):
        grid.deploy(app)
    grid.modal("secret", "create", "--force", "of-clients", "KEY=value")
    return grid.environment


def run(grid: Grid, command, folder: str, ran: str, **environment: str) -> None:
    done = subprocess.run(command, cwd=HERE / folder, capture_output=True, text=True, timeout=600,
                          env={**os.environ, **environment, "PATH": f"{TOOLS / 'bin'}:{os.environ['PATH']}"})
    if done.returncode != 0 or not re.search(ran, done.stdout, re.M):
        pytest.fail(f"{done.stdout[-6000:]}{done.stderr[-2000:]}\n--- grid:\n{grid.tail()}", pytrace=False)


def test_javascript(grid, apps):
    run(grid, ["node", "--test"], "js", r"pass [1-9]", NODE_PATH=str(TOOLS / "node_modules"), **apps)


def test_go(grid, apps):
    run(grid, ["go", "test", "-buildvcs=false", "-count=1", "./..."], "go", r"^ok\b", **apps)

"""A disk that becomes full during a build, and what the same deploy does when there is room again."""

import os
import pathlib
import subprocess
import tempfile

import pytest
from conftest import Grid

HUNGRY = """
import modal
app = modal.App("hungry")
image = modal.Image.from_registry("python:3.11-slim-bookworm").run_commands("head -c 300M /dev/zero > /ballast && echo has-room")

@app.function(image=image)
def f():
    return 1
"""


@pytest.fixture
def small(tmp_path):
    """A grid on a disk of 200 MiB of its own; `grow` makes it larger."""
    if os.geteuid() != 0:
        pytest.skip("skipped: mounting a small disk needs root")
    data = pathlib.Path(tempfile.mkdtemp(prefix="gridiron-small-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", data], capture_output=True, text=True)
    if mounted.returncode != 0:
        data.rmdir()
        pytest.skip("skipped: " + mounted.stderr)
    grid = Grid(data)
    try:
        grid.start()
        grid.sign_in()
        yield grid
        grid.stop()
    finally:
        if grid.process and grid.process.poll() is None:
            grid.kill()
        subprocess.run(["umount", "-l", data], check=True)
        data.rmdir()


def layers(grid) -> set:
    return {entry.name for entry in (grid.data / "worker" / "images" / "layers").glob("*")}


def test_a_full_disk_is_named_and_after_room_is_made_the_same_deploy_works(small, tmp_path):
    path = tmp_path / "hungry.py"
    path.write_text(HUNGRY)
    output = small.modal("deploy", str(path), expect=1)
    assert "No space left on device" in output, output
    assert "The disk that images are kept on is full" in output and "make room there" in output, output
    assert not list((small.data / "worker" / "images" / "layers").rglob("ballast")), layers(small)
    assert not [name for name in layers(small) if name.startswith(".work")], layers(small)
    subprocess.run(["mount", "-o", "remount,size=700m", small.data], check=True)
    output = small.modal("deploy", str(path))
    assert "has-room" in output and "hungry" in output, output
    assert "No space left" not in output, output  # that was the first attempt's

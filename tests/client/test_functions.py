"""`modal run` of plain functions: remote, map, spawn, exceptions, time-outs."""


def test_remote_map_spawn_and_exceptions(grid):
    output = grid.modal("run", "functions.py::main")
    assert "all good" in output
    assert "caught no good: 3" in output
    assert "squaring 7" in output  # the container's own output, live


def test_a_function_that_takes_too_long_times_out(grid):
    assert "timed out as asked" in grid.modal("run", "functions.py::times_out")

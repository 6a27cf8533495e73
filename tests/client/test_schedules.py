"""Functions that run by themselves."""

from conftest import CLIENT


def functions(grid):
    return {f["function"]: f for f in grid.admin("status")["functions"] if f["app"] == "clockwork"}


def test_a_period_runs_again_and_again_as_ordinary_calls(grid):
    grid.modal("deploy", "clockwork.py")
    planned = functions(grid)
    assert planned["tick"]["schedule"]["every"] == {"months": 0, "seconds": 2.0}
    assert planned["morning"]["schedule"]["timezone"] == "America/New_York"
    assert planned["morning"]["schedule"]["next_run_at"] > planned["tick"]["schedule"]["next_run_at"]

    def runs():
        return [i for i in grid.admin("usage", "--app", "clockwork")["inputs"] if i["function"] == "tick"]
    grid.wait_until(lambda: len(runs()) >= 3, 90, "three runs on schedule")
    grid.modal("app", "stop", "clockwork", *(["--yes"] if CLIENT >= (1, 4) else []))
    assert functions(grid) == {}


def test_a_cron_that_cannot_be_read_fails_the_deployment(grid):
    assert "'61' is no minute" in grid.modal("deploy", "bad_cron.py", expect=1)

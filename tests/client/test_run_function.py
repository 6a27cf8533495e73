"""Image.run_function: what a function changes is in the image; what a failing one changes is nowhere."""


def test_a_function_makes_an_image(grid):
    output = grid.modal("run", "made.py::app.main")
    assert "writing by a function" in output
    assert "read: by a function" in output
    assert "writing" not in grid.modal("run", "made.py::app.main"), "it is made once"


def test_a_function_that_fails_fails_the_build_with_its_traceback(grid):
    for _ in range(2):  # and is run again when asked for again
        output = grid.modal("run", "made.py::broken.breaks", expect=1)
        assert "ValueError: nothing comes of this" in output, output
        assert "Image build" in output and "failed" in output

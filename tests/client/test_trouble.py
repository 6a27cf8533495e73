"""What a caller gets when a function, its container or another caller behaves badly."""

import json
import socket
import time

import pytest


@pytest.fixture(scope="module")
def rough(grid):
    grid.modal("deploy", "rough.py")
    return grid


def half_a_request(grid, text: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", grid.port), timeout=10)
    connection.sendall(text)
    return connection


def head(label: str, length: int) -> bytes:
    return (f"POST /-/{label}/ HTTP/1.1\r\nHost: localhost\r\ncontent-type: application/json\r\n"
            f"content-length: {length}\r\n\r\n").encode()


def test_what_runs_too_long_is_a_504_and_the_next_request_is_answered(rough):
    status, _, body = rough.post("rough-slow", {"seconds": 60}, timeout=60)
    assert status == 504 and b"timeout of 2s" in body, (status, body)
    status, _, body = rough.post("rough-slow", {})
    assert (status, json.loads(body)) == (200, {"fine": True})


def test_a_container_out_of_memory_says_so_and_the_next_request_is_answered(rough):
    status, _, body = rough.post("rough-greedy", {"megabytes": 600})
    assert status in (500, 502) and b"out of memory" in body and b"128 MiB" in body, (status, body)
    status, _, body = rough.post("rough-greedy", {"megabytes": 1})
    assert (status, json.loads(body)) == (200, {"bytes": 1 << 20})


def test_a_container_out_of_memory_says_so_in_the_log(rough):
    rough.post("rough-greedy", {"megabytes": 600})
    rough.wait_until(lambda: "Container ran out of memory (it was given 128 MiB)" in rough.app_logs("rough"), 20,
                     "the log says why the container ended")


def test_a_syntax_error_in_the_container_is_a_500_whose_traceback_is_in_the_log(rough):
    status, _, _ = rough.post("rough-misspelt", {})
    assert status == 500
    task = rough.containers("rough", "misspelt")[0]["id"]
    rough.wait_until(lambda: "SyntaxError" in rough.app_logs("rough"), 20, "the traceback is in the log of " + task)


def test_a_syntax_error_is_shown_at_the_line_where_it_is(grid):
    output = grid.modal("deploy", "syntax.py", expect=1)
    assert "syntax.py" in output and "never(:" in output


def test_a_client_that_hangs_up_mid_body_leaves_nothing_running(rough):
    rough.post("rough-patient", {})  # its one container is there
    for _ in range(3):
        half_a_request(rough, head("rough-patient", 10_000_000) + b'{"payload": "' + b"x" * 100_000).close()
    started = time.monotonic()
    status, _, body = rough.post("rough-patient", {"a": 1}, timeout=30)
    assert (status, json.loads(body)) == (200, {"bytes": 8})
    assert time.monotonic() - started < 20


def test_300_clients_that_send_half_a_request_stop_nobody(rough):
    assert rough.post("rough-slow", {})[0] == 200
    texts = [b"POST /-/rough-slow/ HTTP/1.1\r\nHost: local", b"P", head("rough-patient", 1000) + b'{"pay']
    connections = [half_a_request(rough, texts[i % 3]) for i in range(300)]
    try:
        started = time.monotonic()
        for _ in range(5):
            assert rough.post("rough-slow", {})[0] == 200
        rough.modal("app", "list")
        assert time.monotonic() - started < 20
        assert len(rough.containers("rough", "patient")) <= 1
    finally:
        for connection in connections:
            connection.close()
    assert rough.post("rough-patient", {}, timeout=60)[0] == 200

"""What the operator sees of requests (access log, metrics), and how many of them there may be."""

import base64
import re
import urllib.error
import urllib.request

import pytest

from conftest import CLIENT

pytestmark = pytest.mark.skipif(CLIENT < (1, 6), reason="the grid's own doing: one client is enough")
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


@pytest.fixture(scope="module")
def limited(grid):
    grid.deploy("limited.py")
    return grid


def metrics(grid):
    """{line's name with labels: value}."""
    token = f"{grid.environment['MODAL_TOKEN_ID']}:{grid.environment['MODAL_TOKEN_SECRET']}"
    request = urllib.request.Request(f"http://localhost:{grid.port}/metrics", headers={
        "authorization": "Basic " + base64.b64encode(token.encode()).decode()})
    with urllib.request.urlopen(request, timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_a_request_is_a_line_with_its_phases_and_its_trace_is_passed_on(limited):
    status, _, body = limited.post("limited-slow", b"hello", traceparent=TRACE)
    assert (status, body.decode()) == (200, TRACE)
    (cold,) = limited.requests("/-/limited-slow/", 1)
    assert cold["status"] == 200 and cold["complete"] and cold["traceparent"] == TRACE
    assert (cold["app"], cold["function"], cold["client"]) == ("limited", "slow", "127.0.0.1")
    assert (cold["bytes_out"], cold["method"], cold["protocol"]) == (len(TRACE), "POST", "HTTP/1.1")
    assert cold["ms"] >= cold["phases"]["run"] and len(cold["phases"]) > 2, cold  # of the start, too
    assert re.match("fc-", cold["call"]) and re.match("in-", cold["input"]) and re.match("ta-", cold["container"])
    status, _, body = limited.post("limited-slow", b"")
    assert status == 200 and re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", body.decode())
    warm = limited.requests("/-/limited-slow/", 2)[-1]
    assert set(warm["phases"]) == {"queue", "run"} and warm["traceparent"] == body.decode()


def test_beyond_its_rate_a_function_takes_nothing_and_says_when_it_will(limited):
    for _ in range(3):
        status, headers, body = limited.post("limited-slow", b"")
    assert status == 429 and 0 < int(headers["retry-after"]) <= 1800 and b"more come than this function takes" in body
    assert limited.requests("/-/limited-slow/", 5)[-1]["refused"] == "rate"
    limited.wait_until(lambda: "Requests to slow are refused (429)" in limited.app_logs("limited"), 20,
                       "the owner reads so")


def test_an_address_has_its_own_limit_and_proxies_say_which_one_it_is(limited):
    assert [limited.post("limited-each", b"", **{"x-forwarded-for": address})[0]
            for address in ("192.0.2.1", "192.0.2.1", "2001:db8::1", "2001:db8::2", "192.0.2.2")
            ] == [200, 429, 200, 429, 200]
    assert limited.requests("/-/limited-each/", 5)[-1]["client"] == "192.0.2.2"


def test_a_limit_that_cannot_be_read_closes_the_function_and_only_its_owner_learns_why(limited):
    status, _, body = limited.post("limited-odd", b"")
    assert status == 503 and b"fast" not in body
    limited.wait_until(lambda: "the tag limit.odd: 'fast' is no rate" in limited.app_logs("limited"), 20,
                       "the owner reads why")


def test_metrics_are_for_who_has_a_token(limited):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://localhost:{limited.port}/metrics", timeout=30)
    assert refused.value.code == 401
    seen = metrics(limited)
    labels = 'environment="main",app="limited",function="slow"'
    assert seen[f'gridiron_http_requests_total{{{labels},status="200"}}'] == 2
    assert seen[f'gridiron_http_refused_total{{{labels},reason="rate"}}'] >= 1
    assert seen[f"gridiron_http_request_seconds_count{{{labels}}}"] >= 3
    assert seen[f"gridiron_function_queued{{{labels}}}"] == 0
    assert seen["gridiron_workers"] == 1 and seen["gridiron_connections"] >= 1

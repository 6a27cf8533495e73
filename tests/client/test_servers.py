"""What listens at a port of a container (@modal.web_server) gets its requests from the door itself."""

import concurrent.futures
import http.client
import json
import os
import socket
import time

import pytest
from conftest import CLIENT

pytestmark = pytest.mark.skipif(os.environ.get("GRIDIRON_FAST_LANE") == "false", reason="the door does not reach ports")


@pytest.fixture(scope="module")
def sites(grid):
    grid.deploy("sites.py")
    return grid


def ask(grid, path, method="GET", body=None, headers={}, timeout=60):
    connection = http.client.HTTPConnection("localhost", grid.port, timeout=timeout)
    connection.request(method, path, body, headers)
    return connection.getresponse()


def test_a_request_reaches_the_server_as_it_was_sent(sites):
    answer = ask(sites, "/-/sites-raw/a%20b?c=d", "POST", b"hello", {"X-Own": "1", "X-Forwarded-For": "6.6.6.6"})
    text = answer.read().decode()
    assert answer.status == 200, text
    assert text.startswith("POST /a%20b?c=d\n") and text.endswith("\n\nhello"), text
    # What a proxy says that is trusted (this one is: it speaks from the same machine) is told once, by the door.
    assert "x-own: 1\r\n" in text and text.count("x-forwarded-for") == 1 and "x-forwarded-for: 6.6.6.6" in text, text
    assert "aiohttp" not in text.lower() and "user-agent" not in text.lower(), text
    assert "server-timing" in answer.headers


def test_bodies_of_any_length_and_none(sites):
    body = os.urandom(3_000_000)
    assert ask(sites, "/-/sites-raw/x", "PUT", body).read().endswith(body)
    head = ask(sites, "/-/sites-raw/x", "HEAD")
    assert head.status == 200 and int(head.headers["content-length"]) > 0 and head.read() == b""
    assert ask(sites, "/-/sites-raw/x", "OPTIONS").status == 200


def test_an_answer_streams(sites):
    began = time.monotonic()
    answer = ask(sites, "/-/sites-raw/stream")
    assert answer.read1() == b"part0"
    assert time.monotonic() - began < 5
    assert answer.read() == b"part1part2"


def test_a_server_that_ends_each_connection_and_large_files(sites):
    answer = ask(sites, "/-/sites-files/")
    assert (answer.status, answer.read()) == (200, b"from a file\n")
    answer = ask(sites, "/-/sites-files/big")
    assert len(answer.read()) == 100 << 20
    assert ask(sites, "/-/sites-files/none").status == 404


@pytest.mark.parametrize("path", ["half", "close", "bomb", "both"])
def test_a_server_that_misbehaves_is_a_502_that_its_owner_reads_of(sites, path):
    answer = ask(sites, f"/-/sites-raw/{path}")
    assert answer.status == 502, answer.read()
    assert b"port 8000" in answer.read()
    assert ask(sites, "/-/sites-raw/").status == 200


def test_an_answer_that_ends_early_is_cut_off(sites):
    answer = ask(sites, "/-/sites-raw/short")
    with pytest.raises(http.client.IncompleteRead):
        answer.read()


def test_what_takes_too_long_is_a_504(sites):
    assert ask(sites, "/-/sites-raw/slow").status == 504
    assert ask(sites, "/-/sites-raw/").status == 200


def test_a_websocket_is_the_servers_own(sites):
    with socket.create_connection(("localhost", sites.port), 30) as one:
        one.sendall(b"GET /-/sites-raw/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        heard = b""
        while b"\r\n\r\n" not in heard:
            heard += one.recv(4096)
        assert heard.startswith(b"HTTP/1.1 101") and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in heard
        one.sendall(b"raw bytes")
        assert one.recv(4096) == b"raw bytes"


def test_a_server_that_has_ended_takes_its_container_along_and_the_next_request_gets_another(sites):
    assert ask(sites, "/-/sites-raw/").status == 200
    before = {one["id"] for one in sites.containers("sites", "raw")}
    assert ask(sites, "/-/sites-raw/exit").status == 502
    ask(sites, "/-/sites-raw/").read()  # nobody listens: 502, or already another container
    answer = ask(sites, "/-/sites-raw/")
    assert answer.status == 200, answer.read()
    assert not before & {one["id"] for one in sites.containers("sites", "raw") if one["state"] == "ready"}


def test_a_server_that_never_listens_says_so(sites):
    answer = ask(sites, "/-/sites-never/")
    assert answer.status == 500 and b"8000" in answer.read()


def test_requests_are_counted_as_calls(sites):
    ask(sites, "/-/sites-raw/").read()
    assert [one for one in sites.containers("sites", "raw")]


@pytest.fixture(scope="module")
def servers(grid):
    if CLIENT < (1, 6):
        pytest.skip("clients from 1.6 on have servers")
    grid.deploy("servers.py")
    return grid


def test_a_server_is_asked_at_its_port_from_zero_and_back(servers):
    answer = ask(servers, "/-/servers-open/a?0")
    assert (answer.status, answer.read()) == (200, b"asked for /a?0")
    assert len(servers.containers("servers", "Open")) == 1
    servers.wait_until(lambda: not servers.containers("servers", "Open"), 30, "it goes when it is idle")
    servers.wait_until(lambda: "it exits" in servers.app_logs("servers"), 20, "its exit method has run")
    assert ask(servers, "/-/servers-open/b").status == 200


def test_more_than_a_server_takes_is_a_429(servers):
    assert ask(servers, "/-/servers-open/").status == 200
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(servers, "/-/servers-open/x?2"), range(6)))
    codes = [one.status for one in answers]
    assert sorted(codes) == [200] * 2 + [429] * 4, codes
    assert all(one.headers["retry-after"] for one in answers if one.status == 429)


def test_a_server_wants_a_proxy_token_unless_it_says_otherwise(servers):
    assert ask(servers, "/-/servers-closed/").status == 401
    token = servers.admin("token", "proxy", "new", "--name", "servers")
    answer = ask(servers, "/-/servers-closed/", headers={"Modal-Key": token["token_id"],
                                                         "Modal-Secret": token["token_secret"]})
    assert answer.status == 500, "it never listens"

"""custom_domains=[…]: printed by the deploy, answered at, refused when they are another app's or not allowed."""

import http.client

import pytest

from conftest import CLIENT

pytestmark = pytest.mark.skipif(CLIENT < (1, 6), reason="the grid's own doing: one client is enough")


def get(grid, host, path):
    connection = http.client.HTTPConnection("127.0.0.1", grid.port, timeout=60)
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_a_function_answers_at_its_own_host_names(grid):
    said = grid.modal("deploy", "domains.py", DOMAINS="hooks.example.org,a.shop.example.org")
    assert f"Custom domain: http://hooks.example.org:{grid.port}" in said.replace("\n", "")
    for host in ("hooks.example.org", f"A.shop.example.org:{grid.port}"):
        assert get(grid, host, "/-/x") == (200, f"{host} /-/x")
    assert "No web function" not in get(grid, "b.shop.example.org", "/")[1]  # the page's: no function has that name
    refused = grid.modal("deploy", "domains.py", DOMAINS_APP="others", expect=1)
    assert "is that of function 'web' of app 'domains'" in refused
    refused = grid.modal("deploy", "domains.py", DOMAINS="evil.example.org", expect=1)
    assert "not allowed in environment 'main'" in refused and 'domains = ["evil.example.org"]' in refused
    assert get(grid, "hooks.example.org", "/")[0] == 200, "what was refused changed nothing"


def test_a_host_name_that_was_given_up_is_free_for_another_app(grid):
    grid.modal("deploy", "domains.py", DOMAINS="hooks.example.org")
    grid.modal("deploy", "domains.py", DOMAINS="c.shop.example.org")
    grid.modal("deploy", "domains.py", DOMAINS_APP="others")
    assert get(grid, "hooks.example.org", "/")[0] == 200
    assert grid.containers("others")


def test_a_label_that_is_taken_over_is_told_and_one_that_was_made_gives_way(grid):
    first = grid.modal("deploy", "domains.py", DOMAINS="", DOMAINS_APP="first", LABEL="shared")
    assert "another function's" not in first
    second = grid.modal("deploy", "domains.py", DOMAINS="", DOMAINS_APP="second", LABEL="shared")
    assert "The web address 'shared' was another function's until now." in " ".join(second.split())
    assert get(grid, "127.0.0.1", "/-/shared/")[0] == 200
    assert not grid.containers("first") and grid.containers("second")

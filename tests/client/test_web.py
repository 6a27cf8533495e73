"""A web function from deploy to zero and back."""

import json

import pytest
from conftest import CLIENT


@pytest.fixture(scope="module")
def web(grid):
    grid.modal("secret", "create", "--force", "web-secret", "WEB_SECRET=sesame")
    assert f"{grid.workspace}--web-echo" in grid.modal("deploy", "web.py")
    return grid


def test_cold_warm_zero_cold(web):
    status, headers, body = web.post("web-echo", {"word": "one"})
    assert (status, json.loads(body)["word"], json.loads(body)["secret"]) == (200, "one", "sesame"), body
    assert "sandbox" in headers["server-timing"]
    status, headers, body = web.post("web-echo", {"word": "two"})
    assert (status, json.loads(body)["word"]) == (200, "two")
    assert "sandbox" not in headers["server-timing"]
    live = web.containers("web", "echo")
    assert len(live) == 1
    assert live[0]["id"] in web.modal("container", "list", "--json")
    web.wait_until(lambda: not web.containers("web", "echo"), 20, "scaled to zero")
    assert live[0]["id"] not in web.modal("container", "list", "--json")
    status, headers, _ = web.post("web-echo", {"word": "three"})
    assert status == 200 and "sandbox" in headers["server-timing"]


def test_logs_show_what_the_container_printed(web):
    web.post("web-echo", {"word": "logged"})
    web.wait_until(lambda: "echoing logged" in web.modal("app", "logs", "web", timeout=60), 20, "the line is there") \
        if CLIENT >= (1, 4) else None


def test_what_is_not_json_is_the_callers_mistake(web):
    status, _, _ = web.post("web-echo", b"{not json")
    assert status == 422


def test_a_guarded_function_wants_a_proxy_token_before_a_container_starts(web):
    token = web.admin("token", "proxy", "new", "--name", "partner")
    key, secret = token["token_id"], token["token_secret"]
    body = {"word": "let me in"}
    assert web.post("web-guarded", body)[0] == 401
    assert web.post("web-guarded", body, **{"Modal-Key": key, "Modal-Secret": "ws-guessed"})[0] == 401
    assert not [c for c in web.containers() if c["function"] == "guarded"]
    status, _, answer = web.post("web-guarded", body, **{"Modal-Key": key, "Modal-Secret": secret})
    assert (status, json.loads(answer)) == (200, body)
    web.admin("token", "proxy", "revoke", key)
    assert web.post("web-guarded", body, **{"Modal-Key": key, "Modal-Secret": secret})[0] == 401


def test_an_exception_is_a_500(web):
    status, _, _ = web.post("web-trouble", {"how": "raise"})
    assert status == 500


def test_a_container_that_dies_fails_its_request_and_not_the_next(web):
    status, _, body = web.post("web-trouble", {"how": "exit"})
    assert status in (500, 502), body
    status, _, body = web.post("web-trouble", {"how": "nothing"})
    assert (status, json.loads(body)) == (200, {"fine": True})


def test_a_large_body_arrives_whole(web):
    status, _, body = web.post("web-size", {"payload": "x" * 30_000_000})
    assert (status, json.loads(body)) == (200, {"bytes": 30_000_000})


def test_a_streamed_answer_arrives_whole(web):
    status, _, body = web.post("web-stream", {})
    assert (status, body) == (200, b"".join(b"line %d\n" % i for i in range(5)))


def test_an_unknown_label_is_a_404_that_names_it(web):
    status, _, body = web.post("web-no-such-thing", {})
    assert status == 404 and b"web-no-such-thing" in body


def test_a_module_that_cannot_be_imported_answers_with_the_reason(web):
    web.modal("deploy", "broken.py")
    status, _, body = web.post("broken-hello", {})
    assert status in (500, 503) and b"there_is_no_such_module" in body


def test_a_missing_secret_is_refused_with_the_nearest_name(web):
    output = web.modal("deploy", "missing_secret.py", expect=1)
    assert "web-secrte" in output and "web-secret" in output


def test_a_package_that_does_not_exist_fails_the_build_with_its_output(web):
    output = web.modal("deploy", "bad_package.py", expect=1)
    assert "this-package-is-not-to-be-found-anywhere" in output


def test_usage_is_metered_in_milliseconds(web):
    usage = web.admin("usage")
    assert usage["inputs"] and usage["containers"], usage


def test_what_was_deployed_answers_after_a_kill(web):
    web.kill()
    web.start()
    status, _, body = web.post("web-echo", {"word": "again"})
    assert (status, json.loads(body)["secret"]) == (200, "sesame")

"""Signed webhooks: who is not signed is refused before a container starts, and only the owner learns why."""

import hashlib
import hmac
import urllib.error
import urllib.request

import pytest

from conftest import CLIENT

pytestmark = pytest.mark.skipif(CLIENT < (1, 1), reason="apps have no tags in this client")
KEY = "It's a Secret to Everybody"  # GitHub's own sample
SIGNATURE = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


@pytest.fixture(scope="module")
def signed(grid):
    grid.modal("secret", "create", "signed-github", f"WEBHOOK_SECRET={KEY}")
    grid.deploy("signed.py")
    return grid


def post(grid, label: str, body: bytes, signature=None):
    headers = {"x-hub-signature-256": signature} if signature else {}
    request = urllib.request.Request(grid.url(label), data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_who_is_not_signed_starts_nothing_and_the_owner_reads_why(signed):
    for signature in (None, SIGNATURE[:-2] + "00", SIGNATURE[:-2], "sha1=" + 40 * "0"):
        status, text = post(signed, "signed-pushed", b"Hello, World!", signature)
        assert status == 401 and "not signed as this address demands" in text and "sha256" not in text, text
    assert not signed.containers("signed", "pushed")
    signed.wait_until(lambda: "A request to pushed was refused: the request has no x-hub-signature-256 header"
                      in signed.app_logs("signed"), 20, "the owner reads why")


def test_the_sample_of_the_providers_documentation_gets_through(signed):
    assert post(signed, "signed-pushed", b"Hello, World!", SIGNATURE) == (200, "took Hello, World!")


def test_two_secrets_live_while_a_sender_rotates(signed):
    signed.modal("secret", "create", "signed-github", "--force", "WEBHOOK_SECRET=new", f"WEBHOOK_SECRET_OLD={KEY}")
    assert post(signed, "signed-pushed", b"Hello, World!", SIGNATURE)[0] == 200
    new = "sha256=" + hmac.new(b"new", b"more", hashlib.sha256).hexdigest()
    assert post(signed, "signed-pushed", b"more", new) == (200, "took more")
    signed.modal("secret", "create", "signed-github", "--force", "WEBHOOK_SECRET=new")
    assert post(signed, "signed-pushed", b"Hello, World!", SIGNATURE)[0] == 401


def test_a_rule_that_cannot_work_closes_the_function(signed):
    assert post(signed, "signed-odd", b"Hello, World!", SIGNATURE)[0] == 503
    signed.wait_until(lambda: "'not-there'" in signed.app_logs("signed"), 20, "the owner reads which Secret is missing")

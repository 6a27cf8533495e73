"""Who may enter, and what those get who may not."""

import modal
from conftest import CLIENT


def test_a_token_lists_apps(grid):
    grid.modal("app", "list")
    if CLIENT >= (1, 4):
        assert grid.workspace in grid.modal("token", "info")


def test_a_wrong_token_is_refused_and_the_word_token_is_said(grid):
    output = grid.modal("app", "list", expect=1, MODAL_TOKEN_SECRET="as-wrong")
    assert "token" in output.lower()


def test_secrets_come_and_go_and_their_values_never_come_back(grid):
    grid.modal("secret", "create", "comes-and-goes", "KEY=very-secret-value")
    listed = grid.modal("secret", "list")
    assert "comes-and-goes" in listed and "very-secret-value" not in listed
    grid.modal("secret", "delete", "comes-and-goes", "--yes")
    assert "comes-and-goes" not in grid.modal("secret", "list")
    assert b"very-secret-value" not in b"".join(f.read_bytes() for f in grid.data.glob("*") if f.is_file())


def test_environments_come_and_go(grid):
    grid.modal("environment", "create", "staging")
    assert "staging" in grid.modal("environment", "list")
    grid.modal("environment", "delete", "staging", "--yes" if CLIENT >= (1, 1) else "--confirm")
    assert "staging" not in grid.modal("environment", "list")


def test_a_misspelt_environment_is_named(grid):
    output = grid.modal("app", "list", "-e", "mian", expect=1)
    assert "mian" in output


def test_a_revoked_token_is_refused(grid):
    token = grid.admin("token", "new")
    grid.modal("app", "list", MODAL_TOKEN_ID=token["token_id"], MODAL_TOKEN_SECRET=token["token_secret"])
    grid.admin("token", "revoke", token["token_id"])
    grid.modal("app", "list", expect=1, MODAL_TOKEN_ID=token["token_id"], MODAL_TOKEN_SECRET=token["token_secret"])

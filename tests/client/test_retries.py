"""Retries by the grid, which is the rule, and by the client, where a server asks it for that."""

import itertools

import modal
import pytest
from modal_proto import api_pb2

try:
    from modal._grpc_client import UnaryUnaryWrapper
except ImportError:  # clients before 1.3
    from modal.client import UnaryUnaryWrapper

fresh = itertools.count()


@pytest.fixture(scope="module")
def retried(client):
    client.deploy("retried.py")
    return lambda name: modal.Function.from_name("retried", name)


@pytest.fixture
def client_retries(monkeypatch):
    """The client is told to retry by itself, twice, as another server might do it."""
    real = UnaryUnaryWrapper.__call__

    async def told(self, *arguments, **options):
        response = await real(self, *arguments, **options)
        if isinstance(response, api_pb2.FunctionMapResponse):
            response.sync_client_retries_enabled = True
            response.retry_policy.retries = 2
            response.retry_policy.backoff_coefficient = 1.0
        return response

    monkeypatch.setattr(UnaryUnaryWrapper, "__call__", told)
    monkeypatch.setattr("modal.retries.MIN_INPUT_RETRY_DELAY_MS", 20)


def inputs(count):
    """Such as no story before had."""
    return [next(fresh) for _ in range(count)]


def test_a_map_is_retried_by_the_grid(retried):
    xs = inputs(20)
    assert list(retried("by_the_grid").map(xs)) == [(x, 3) for x in xs]
    xs = inputs(20)
    assert sorted(retried("by_the_grid").map(xs, order_outputs=False)) == [(x, 3) for x in xs]


def test_a_map_is_retried_by_the_client(retried, client_retries):
    xs = inputs(60)  # more than the client sends at once
    assert list(retried("by_the_client").map(xs)) == [(x, 3) for x in xs]
    xs = inputs(20)
    assert sorted(retried("by_the_client").map(xs, order_outputs=False)) == [(x, 3) for x in xs]


def test_a_call_is_retried_by_the_client(retried, client_retries):
    x, = inputs(1)
    assert retried("by_the_client").remote(x) == (x, 3)


def test_what_fails_at_every_try_fails(retried, client_retries):
    with pytest.raises(ValueError, match="never 7"):
        retried("never").remote(7)
    results = list(retried("never").map(range(3), return_exceptions=True))
    assert [f"never {x}" in str(result) for x, result in enumerate(results)] == [True] * 3

"""What clients in other languages send: CBOR arguments, and results that come back in the same format."""

import asyncio

import modal
import pytest
from conftest import CLIENT

cbor2 = pytest.importorskip("cbor2", reason="clients before 1.2 speak pickle only")
from grpclib.client import Channel  # noqa: E402
from modal_proto import api_pb2  # noqa: E402
from modal_proto.api_grpc import ModalClientStub  # noqa: E402

pytestmark = pytest.mark.skipif(CLIENT < (1, 2), reason="containers of clients before 1.2 take pickle only")


async def called(grid, function_id: str, *args, method: str = "", **kwargs):
    """(result message, decoded value) of a unary call as a client without pickle makes it."""
    channel = Channel("127.0.0.1", grid.port)
    metadata = {"x-modal-client-type": "6", "x-modal-client-version": "1.0.0", "x-modal-libmodal": "1",
                "x-modal-token-id": grid.environment["MODAL_TOKEN_ID"],
                "x-modal-token-secret": grid.environment["MODAL_TOKEN_SECRET"]}
    try:
        stub = ModalClientStub(channel)
        item = api_pb2.FunctionInput(args=cbor2.dumps([list(args), kwargs]), data_format=api_pb2.DATA_FORMAT_CBOR,
                                     method_name=method)
        made = await stub.FunctionMap(api_pb2.FunctionMapRequest(
            function_id=function_id, function_call_type=api_pb2.FUNCTION_CALL_TYPE_UNARY,
            function_call_invocation_type=api_pb2.FUNCTION_CALL_INVOCATION_TYPE_SYNC,
            pipelined_inputs=[api_pb2.FunctionPutInputsItem(idx=0, input=item)]), metadata=metadata)
        got = await stub.FunctionGetOutputs(api_pb2.FunctionGetOutputsRequest(
            function_call_id=made.function_call_id, max_values=1, timeout=55, last_entry_id="0-0"), metadata=metadata)
        (output,) = got.outputs
        if output.result.status != api_pb2.GenericResult.GENERIC_STATUS_SUCCESS:
            return output.result, None
        assert output.data_format == api_pb2.DATA_FORMAT_CBOR
        return output.result, cbor2.loads(output.result.data)
    finally:
        channel.close()


@pytest.fixture(scope="module")
def function(client):
    client.deploy("calls.py")
    client.deploy("classes.py")

    def id_of(name):
        found = modal.Function.from_name("calls", name)
        found.hydrate()
        return found.object_id
    return id_of


def test_arguments_and_results(client, function):
    assert asyncio.run(called(client, function("add"), 20, 22))[1] == 42
    assert asyncio.run(called(client, function("add"), 1, y=2))[1] == 3
    value = {"text": "grün", "bytes": b"\x00\xff", "list": [1, 2.5, None, True], "large": 1 << 40}
    assert asyncio.run(called(client, function("echo"), value))[1] == value


def test_an_exception_is_told_as_text(client, function):
    result, _ = asyncio.run(called(client, function("odd_only"), 4))
    assert result.status == api_pb2.GenericResult.GENERIC_STATUS_FAILURE
    assert "even: 4" in result.exception and "odd_only" in result.traceback


def test_a_method(client, function):
    sums = modal.Cls.from_name("classes", "Sums")()
    sums.total.hydrate()
    assert asyncio.run(called(client, sums.total.object_id, [5, 6], method="total"))[1] == [[5, 2], [6, 2]]

"""The fast lane: web requests reach the app that the client made by a socket of the grid's, past the client's input loop.

Runs in the container's interpreter, before and around the client's own entrypoint: `main()` puts a descriptor in the
place of ContainerIOManager.run_inputs_outputs and then runs the entrypoint. Everything else stays the client's: imports,
enter hooks, lifespan, heartbeats, the inputs that are no web requests, exit hooks. A client that is not built as expected
is left alone: no socket appears, and the grid gives it web requests as ordinary inputs.

The grid connects to the socket that GRIDIRON_LANE names, one request at a time on a connection, and decides how many run
at once. A frame is `u32 length, u8 type, payload` (little-endian):

    to the app    R request (u32 size of the head, head, body)   B more of the body   F the last of it
                  D the caller is gone   C cancel (why)   T, Y a websocket's text, bytes   X its end (code)
    from the app  A head and whole body   S head and first part   P part   E last part   X abort, a websocket's end
                  W websocket accepted   T, Y text, bytes   G no more requests, please
                  Z the app has returned ("" or how it failed): only now may the connection carry another request

Fields of heads are parted by NUL. docs/decisions/fast_lane.md has the argument.
"""

import asyncio
import os
import struct
import sys
from collections import deque
from urllib.parse import unquote

HEADER = struct.Struct("<IB")
SIZE = struct.Struct("<I")
HIGH = 64 * 1024  # of a request's body that the app has not taken: then nothing more is read
PIECE = 256 * 1024  # of a response's body, at most in a frame
END = object()


# --- where it hooks in ------------------------------------------------------------------------------------------------

class Hook:
    """In the place of the method: a descriptor, as it was."""

    def __init__(self, original):
        self.original = original

    def __get__(self, instance, owner=None):
        return Bound(self.original.__get__(instance, owner))


class Bound:
    def __init__(self, original):
        self.original = original

    def __call__(self, functions, *rest, **named):
        """Concurrency 1: the client takes one input after the other in its main thread, and its loop for user code only
        runs while one of them does. So it also runs while the next is waited for."""
        webs = webs_of(functions)
        loop = sys._getframe(1).f_locals.get("user_code_event_loop") if webs else None
        if not (hasattr(loop, "loop") and hasattr(loop, "run")):
            return self.original(functions, *rest, **named)
        return self.in_turn(webs, loop, functions, *rest, **named)

    def in_turn(self, webs, user_loop, functions, *rest, **named):
        lane = Lane(webs, user_loop.loop)
        inputs = self.original.aio(functions, *rest, **named).__aiter__()
        pending, graceful = None, False

        async def following():
            nonlocal pending
            await lane.start()
            if pending is None:
                pending = asyncio.ensure_future(next_of(inputs))
            found = await asyncio.shield(pending)
            pending = None
            return found
        try:
            while True:
                found = user_loop.run(following())
                if getattr(user_loop, "_sigints", 0) and (found is END or found is None):
                    raise KeyboardInterrupt  # some versions' generators end as if all were well
                if found is END:
                    graceful = True
                    return
                if found is not None:  # None: cancelled by a signal that came too late for the input before
                    yield found
        finally:
            if pending is not None:
                pending.cancel()
            user_loop.run(lane.stop(graceful))

    async def aio(self, functions, *rest, **named):
        """Concurrency above 1: this runs on the loop for user code, beside the inputs."""
        webs = webs_of(functions)
        lane = Lane(webs, asyncio.get_running_loop()) if webs else None
        graceful = False
        try:
            if lane:
                await lane.start()
            async for found in self.original.aio(functions, *rest, **named):
                yield found
            graceful = True
        finally:
            if lane:
                cancelling = getattr(asyncio.current_task(), "cancelling", int)()
                await lane.stop(graceful and not cancelling)


async def next_of(inputs):
    try:
        return await inputs.__anext__()
    except StopAsyncIteration:
        return END


def webs_of(functions):
    """The apps by the name of their method. Nothing when one of them is not made as expected."""
    webs = {}
    for name, function in functions.items():
        manager = getattr(function, "lifespan_manager", None)
        if manager is None:
            continue
        if not (hasattr(manager, "asgi_app") and hasattr(manager, "state")):
            return {}
        webs[name] = (manager.asgi_app, manager.state)
    return webs


def misfits():
    """What of this client is not as the lane needs it."""
    try:
        from modal._runtime import container_io_manager, execution_context
        method = container_io_manager._ContainerIOManager.run_inputs_outputs
        code = getattr(method, "__wrapped__", method).__code__
        found = []
        if code.co_varnames[:code.co_argcount] != ("self", "finalized_functions", "batch_max_size", "batch_wait_ms"):
            found.append("run_inputs_outputs takes other arguments")
        wrapper = container_io_manager.ContainerIOManager.__dict__.get("run_inputs_outputs")
        if not hasattr(wrapper, "__get__"):
            found.append("run_inputs_outputs is no descriptor")
        for name in ("_current_input_id", "_current_function_call_id"):
            if not hasattr(execution_context, name):
                found.append(f"there is no {name}")
        return found
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]


# --- the requests of one container ------------------------------------------------------------------------------------

class Lane:
    def __init__(self, webs, loop):
        self.webs, self.loop = webs, loop
        self.server = self.idle = None
        self.tasks, self.connections = set(), set()
        self.closing = False
        self.at_once = True  # apps return in the very step that completes their answer
        self.stoppable = False

    async def start(self):
        if self.server:
            return
        from modal._runtime import execution_context
        from modal._runtime.container_io_manager import _ContainerIOManager
        from modal._traceback import print_exception
        self.print_exception = print_exception
        self.manager = _ContainerIOManager._singleton
        self.stoppable = hasattr(self.manager, "_fetching_inputs")  # stop_fetching_inputs() of clients before 1.6
        self.input_id = execution_context._current_input_id
        self.call_id = execution_context._current_function_call_id
        self.attempt = getattr(execution_context, "_current_attempt_token", None)
        path = os.environ["GRIDIRON_LANE"]
        self.server = await self.loop.create_unix_server(lambda: Connection(self), path, backlog=1024)

    def set_ids(self, input_id, call_id):
        self.input_id.set(input_id)
        self.call_id.set(call_id)
        if self.attempt is not None:
            self.attempt.set("")

    def run(self, request):
        request.task = self.loop.create_task(request.run())
        self.tasks.add(request.task)

    def done(self, task):
        """Said by the task itself as it ends: a callback would cost a turn of the loop for each request."""
        self.tasks.discard(task)
        if self.closing and not self.tasks and self.idle and not self.idle.done():
            self.idle.set_result(None)
        if self.stoppable and not self.manager._fetching_inputs:
            self.refuse()

    def refuse(self):
        for connection in list(self.connections):
            connection.go_away()

    async def stop(self, graceful):
        """Gracefully: what runs comes to its end, for as long as the grid lets it."""
        self.closing = True
        if self.server:
            self.server.close()
        self.refuse()
        if self.tasks and graceful:
            self.idle = self.loop.create_future()
            await self.idle
        for task in list(self.tasks):
            task.cancel()
        if self.tasks:
            await asyncio.wait(list(self.tasks), timeout=1)
        await asyncio.sleep(0)
        for connection in list(self.connections):
            connection.close()


class Request:
    """One request, http or websocket."""

    def __init__(self, lane, connection, scope, app, input_id, call_id):
        self.lane, self.connection, self.scope, self.app = lane, connection, scope, app
        self.input_id, self.call_id = input_id, call_id
        self.inbox, self.size, self.waiter = deque(), 0, None
        self.gone = False     # nobody listens any more
        self.head = None      # the response's start, until it is sent
        self.started = False  # the head is out
        self.ended = False    # and all of the response
        self.cancelled = ""
        self.begun = False    # by its task
        self.task = None

    def push(self, message, size):
        self.inbox.append(message)
        self.size += size
        if self.size > HIGH:
            self.connection.pause_reading()
        self.wake()

    def wake(self):
        waiter, self.waiter = self.waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def disconnect(self):
        self.gone = True
        self.wake()
        self.connection.resume_writing()

    def cancel(self, why):
        self.cancelled = why
        if self.begun:  # else it will see: a task that is cancelled before its first step never says that it has ended
            self.task.cancel()

    async def receive(self):
        while not self.inbox:
            if self.gone or self.ended:
                if self.scope["type"] == "http":
                    return {"type": "http.disconnect"}
                return {"type": "websocket.disconnect", "code": 1005}
            self.waiter = self.lane.loop.create_future()
            await self.waiter
        message = self.inbox.popleft()
        taken = message.get("body") or message.get("bytes") or message.get("text")
        if taken:
            self.size -= len(taken)
            if self.size <= HIGH // 2:
                self.connection.resume_reading()
        return message

    async def send(self, message):
        kind, connection = message["type"], self.connection
        if kind == "http.response.body":
            if self.ended:
                raise RuntimeError("the response is complete already")
            if self.head is None:
                raise RuntimeError("http.response.start is expected first")
            body, more = message.get("body", b""), message.get("more_body", False)
            if len(body) > PIECE:
                await self.send_large(memoryview(body), more)
                return
            self.ended = not more
            self.send_body(body, more)
        elif kind == "http.response.start":
            if self.head is not None:
                raise RuntimeError("the response has started already")
            self.head = message
            return
        elif kind.startswith("websocket."):
            if self.gone:
                return
            connection.send_websocket(self, message)
        else:
            return  # extensions that were not offered
        if connection.blocked:
            await connection.drain()

    def send_body(self, body, more):
        if self.gone:
            return
        if self.started:
            self.connection.send_body(body, more)
        else:
            self.started = True
            self.connection.send_head(self.head, body, more)

    async def send_large(self, body, more):
        for at in range(0, len(body), PIECE):
            last = at + PIECE >= len(body)
            self.send_body(body[at:at + PIECE], more or not last)
            if self.connection.blocked:
                await self.connection.drain()
        self.ended = not more

    async def run(self):
        self.begun = True
        self.lane.set_ids(self.input_id, self.call_id)
        failure = ""
        try:
            if self.cancelled:
                raise asyncio.CancelledError
            await self.app(self.scope, self.receive, self.send)
            if self.started and not self.ended and self.scope["type"] == "http":
                failure = "the response was not completed"
        except asyncio.CancelledError:
            failure = self.cancelled or "cancelled"
        except (KeyboardInterrupt, GeneratorExit):
            failure = "the container was interrupted"
            raise
        except BaseException as error:
            self.lane.print_exception(*sys.exc_info())  # as the client does for any input
            failure = repr(error)
        finally:
            self.ended = True
            self.connection.finished(self, failure)
            self.lane.done(self.task)


class Connection(asyncio.Protocol):
    def __init__(self, lane):
        self.lane = lane
        self.transport = self.request = self.writable = self.held = self.flusher = None
        self.buffer = b""
        self.blocked = self.paused = self.leaving = False

    # --- of the transport
    def connection_made(self, transport):
        self.transport = transport
        self.lane.connections.add(self)
        if self.lane.closing:
            self.go_away()

    def connection_lost(self, error):
        self.lane.connections.discard(self)
        if self.request:
            self.request.disconnect()
            self.request.cancel("the grid has hung up")

    def pause_writing(self):
        self.blocked = True

    def resume_writing(self):
        self.blocked = False
        writable, self.writable = self.writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    async def drain(self):
        if self.transport.is_closing():
            self.blocked = False
            return
        if self.writable is None:
            self.writable = self.lane.loop.create_future()
        await asyncio.shield(self.writable)

    def pause_reading(self):
        if not self.paused:
            self.paused = True
            self.transport.pause_reading()

    def resume_reading(self):
        if self.paused:
            self.paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def close(self):
        self.transport.close()

    def go_away(self):
        self.leaving = True
        if self.request is None and not self.transport.is_closing():
            self.transport.write(HEADER.pack(0, 71))
            self.close()

    # --- frames in
    def data_received(self, data):
        if self.buffer:
            data = self.buffer + data
        size, at = len(data), 0
        while size - at >= 5:
            length, kind = HEADER.unpack_from(data, at)
            end = at + 5 + length
            if end > size:
                break
            self.frame(kind, data[at + 5:end])
            at = end
        self.buffer = data[at:] if at < size else b""

    def frame(self, kind, payload):
        request = self.request
        if kind == 82:  # R
            self.begin(payload)
        elif request is None:
            pass  # it has returned meanwhile
        elif kind == 66:  # B
            request.push({"type": "http.request", "body": payload, "more_body": True}, len(payload))
        elif kind == 70:  # F
            request.push({"type": "http.request", "body": payload, "more_body": False}, len(payload))
        elif kind == 68:  # D
            request.disconnect()
        elif kind == 67:  # C
            request.cancel(payload.decode() or "cancelled")
        elif kind == 84:  # T
            request.push({"type": "websocket.receive", "text": payload.decode(errors="replace")}, len(payload))
        elif kind == 89:  # Y
            request.push({"type": "websocket.receive", "bytes": payload}, len(payload))
        elif kind == 88:  # X
            request.push({"type": "websocket.disconnect", "code": int(payload or b"1005")}, 0)
            request.gone = True

    def begin(self, payload):
        size = SIZE.unpack_from(payload)[0]
        body = payload[4 + size:]
        (kind, more, name, input_id, call_id, version, method, scheme, raw_path, query, root_path, client, client_port,
         server, server_port, *fields) = payload[4:4 + size].split(b"\0")
        path = raw_path.decode("latin-1")
        app, state = self.lane.webs.get(name.decode(), (missing, {}))
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": version.decode(),
            "method": method.decode("latin-1"), "scheme": scheme.decode(),
            "path": unquote(path) if "%" in path else path, "raw_path": raw_path, "query_string": query,
            "root_path": root_path.decode(), "headers": list(zip(fields[::2], fields[1::2])),
            "client": (client.decode(), int(client_port)), "server": (server.decode(), int(server_port)),
            "state": state.copy()}
        first = {"type": "http.request", "body": body, "more_body": more == b"1"}
        if kind == b"w":
            first = {"type": "websocket.connect"}
            scope["type"] = "websocket"
            scope["subprotocols"] = [one.strip() for name, value in scope["headers"]
                                     if name == b"sec-websocket-protocol" for one in value.decode("latin-1").split(",")]
            del scope["method"]
        self.request = request = Request(self.lane, self, scope, app, input_id.decode(), call_id.decode())
        request.inbox.append(first)
        request.size = len(body)
        self.lane.run(request)

    # --- frames out
    def hold(self, frame):
        """What may go out together with the end. Where that comes at once, as it does for most apps, a timer that is
        taken back costs less than a turn of the loop."""
        if self.held is not None:
            self.held += frame
            return
        self.held = frame
        if self.lane.at_once:
            self.flusher = self.lane.loop.call_later(0.001, self.late)
        else:
            self.lane.loop.call_soon(self.late)

    def late(self):
        """The app goes on behind its answer."""
        if self.held is not None:
            self.lane.at_once = False
        self.flush()

    def flush(self):
        held, self.held = self.held, None
        if held is not None:
            self.transport.write(held)

    def put(self, kind, *parts):
        self.flush()
        self.transport.write(b"".join((HEADER.pack(sum(map(len, parts)), kind), *parts)))

    def send_head(self, message, body, more):
        headers = message.get("headers", ())
        fields = [b"%d" % message["status"]]
        for name, value in headers:
            fields.append(name)
            fields.append(value)
        head = b"\0".join(fields)
        if head.count(b"\0") != len(fields) - 1:
            raise ValueError("a response header has a NUL in it")
        frame = b"".join((HEADER.pack(4 + len(head) + len(body), 83 if more else 65), SIZE.pack(len(head)), head, body))
        if more or len(body) > HIGH:
            self.flush()
            self.transport.write(frame)
        else:
            self.hold(frame)

    def send_body(self, body, more):
        if more or len(body) > HIGH:
            if body or not more:
                self.put(80 if more else 69, body)
        else:
            self.hold(HEADER.pack(len(body), 69) + body)

    def send_websocket(self, request, message):
        kind = message["type"]
        if kind == "websocket.send":
            text = message.get("text")
            if text is not None:
                self.put(84, text.encode())
            else:
                self.put(89, message["bytes"])
        elif kind == "websocket.accept":
            fields = [(message.get("subprotocol") or "").encode()]
            for name, value in message.get("headers", ()):
                fields += [name, value]
            request.started = True
            self.put(87, b"\0".join(fields))
        elif kind == "websocket.close":
            request.gone = request.ended = True
            self.put(88, b"%d\0" % message.get("code", 1000), (message.get("reason") or "").encode())

    def finished(self, request, failure):
        self.request = None
        self.resume_reading()
        if self.flusher is not None:
            self.flusher.cancel()
            self.flusher = None
        if self.held is not None:
            self.lane.at_once = True
        end = failure.encode(errors="replace")[:4000]
        frames = (self.held or b"") + HEADER.pack(len(end), 90) + end
        self.held = None
        if self.leaving:
            frames += HEADER.pack(0, 71)
        if not self.transport.is_closing():
            self.transport.write(frames)
            if self.leaving:
                self.close()


async def missing(scope, receive, send):
    raise LookupError("there is no such web method here")


# --- the start --------------------------------------------------------------------------------------------------------

def install():
    why = misfits()
    if why:
        print(f"The fast lane is off, web requests come as ordinary inputs: {'; '.join(why)}", file=sys.stderr, flush=True)
        return
    from modal._runtime.container_io_manager import ContainerIOManager
    ContainerIOManager.run_inputs_outputs = Hook(ContainerIOManager.__dict__["run_inputs_outputs"])


def main():
    """As `python -m modal._container_entrypoint`."""
    if os.environ.get("GRIDIRON_LANE") and os.environ.get("GRIDIRON_FAST_LANE") != "off":
        install()
    import runpy
    sys.path[0] = os.getcwd()
    sys.argv[:] = ["-m"]
    runpy._run_module_as_main("modal._container_entrypoint")


if __name__ == "gridiron_lane":
    main()

"""Web functions of every kind, which say how a request came to them."""
import asyncio
import contextlib
import json
import os
import sys
import traceback

import modal

# LANES_PYTHON: that version in the containers; else the client's own.
version = os.environ.get("LANES_PYTHON")
app = modal.App("lanes", image=modal.Image.debian_slim(python_version=version)) if version else modal.App("lanes")
old = tuple(int(part) for part in modal.__version__.split(".")[:2]) < (1, 4)
endpoint = modal.web_endpoint if old else modal.fastapi_endpoint


def by_lane():
    return any("fast_lane" in frame.filename and frame.name == "run" for frame in traceback.extract_stack())


def about():
    return {"lane": by_lane(), "input": modal.current_input_id(), "call": modal.current_function_call_id(),
            "task": os.environ["MODAL_TASK_ID"]}


@app.function(scaledown_window=5)
@endpoint(method="POST")
async def one(data: dict):
    print("one got", data.get("word"))
    if data.get("raise"):
        raise ValueError("asked for trouble")
    return {**about(), "word": data.get("word")}


@app.function(scaledown_window=5, max_containers=1)
@endpoint(method="POST")
def in_thread(data: dict):
    return {"input": modal.current_input_id(), "word": data.get("word")}


@app.cls(scaledown_window=5)
class Shop:
    name: str = modal.parameter(default="corner")

    @modal.enter()
    def open(self):
        self.opened = True

    @endpoint(method="POST", label="lanes-sell")
    async def sell(self, data: dict):
        return {**about(), "what": "sold", "name": self.name, "opened": self.opened}

    @endpoint(method="POST", label="lanes-buy")
    async def buy(self, data: dict):
        return {**about(), "what": "bought"}

    @modal.exit()
    def close(self):
        print("the shop closes")


@app.cls(scaledown_window=5)
class Kiosk:
    @endpoint(method="POST", label="lanes-kiosk")
    async def sell(self, data: dict):
        return about()

    @modal.method()
    def count(self, n: int) -> str:
        return f"{n} {os.environ['MODAL_TASK_ID']}"

    @modal.method()
    async def count_async(self, n: int) -> str:
        return f"{n} {os.environ['MODAL_TASK_ID']}"


async def respond(send, body, status=200, more=False):
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def body_of(receive):
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            return size


heard = []


async def until_gone(receive, send):
    await respond(send, b"first\n", more=True)
    try:
        while (await receive())["type"] != "http.disconnect":
            pass
        heard.append("disconnect")
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        heard.append("cancelled")
        raise


async def until_cancelled(send):
    await respond(send, modal.current_function_call_id().encode() + b"\n", more=True)
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        heard.append("taken back")
        raise


async def in_pieces(send):
    """65 MB, and how many are out so far."""
    await respond(send, b"", more=True)
    for at in range(65):
        await send({"type": "http.response.body", "body": bytes(1_000_000), "more_body": True})
        heard.append("piece")
    await send({"type": "http.response.body", "body": b""})


async def chat(receive, send):
    await receive()
    await send({"type": "websocket.accept", "subprotocol": "talk", "headers": [(b"x-lane", b"1" if by_lane() else b"0")]})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            heard.append(f"closed {message.get('code')}")
            return
        if message.get("text") == "bye":
            await send({"type": "websocket.close", "code": 4001, "reason": "as you wish"})
            return
        if message.get("bytes") is not None:
            await send({"type": "websocket.send", "bytes": message["bytes"]})
        else:
            await send({"type": "websocket.send", "text": message["text"]})


# LANES_LATER makes another version of this one: what has not changed keeps its containers when it is deployed.
@app.function(scaledown_window=6 if os.environ.get("LANES_LATER") else 5, timeout=4)
@modal.concurrent(max_inputs=4)
@modal.asgi_app()
def bare():
    started = []

    async def serve(scope, receive, send):
        path = scope["path"].removeprefix(scope["root_path"])
        if path == "/about":
            await respond(send, json.dumps({**about(), "path": scope["path"], "root": scope["root_path"],
                                            "query": scope["query_string"].decode(), "state": scope["state"],
                                            "started": started, "heard": heard}).encode())
        elif path == "/size":
            await respond(send, b"%d" % await body_of(receive))
        elif path == "/events":
            for at in range(5):
                if at == 0:
                    await respond(send, b"0\n", more=True)
                else:
                    await send({"type": "http.response.body", "body": b"%d\n" % at, "more_body": True})
                await asyncio.sleep(0.7 if scope["query_string"] else 0.05)
            await send({"type": "http.response.body", "body": b""})
        elif path == "/large":
            await respond(send, bytes(20_000_000))
        elif path == "/late":
            await respond(send, b"begun", more=True)
            raise RuntimeError("after the head")
        elif path == "/early":
            raise RuntimeError("before the head")
        elif path == "/nothing":
            return
        elif path == "/slow":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                heard.append("timeout")
                raise
        elif path == "/behind":
            await respond(send, b"answered")
            await asyncio.sleep(0.2)
            heard.append("behind")
        elif path == "/gone":
            await until_gone(receive, send)
        elif path == "/cancelled":
            await until_cancelled(send)
        elif path == "/pieces":
            await in_pieces(send)
        else:
            await respond(send, b"no such page", 404)

    async def asgi(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["of"] = "lifespan"
            started.append("up")
            await send({"type": "lifespan.startup.complete"})
            await receive()
            print("the lifespan ends")
            sys.stdout.flush()
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "http":
            await serve(scope, receive, send)
        else:
            with contextlib.suppress(asyncio.CancelledError):
                await chat(receive, send)

    return asgi


async def pipe(scope, receive, send):
    """Says back what it is told, piece by piece."""
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-lane", b"1" if by_lane() else b"0")]})
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": more})


@app.function(scaledown_window=5, timeout=120)
@modal.concurrent(max_inputs=2)
@modal.asgi_app(label="lanes-pipe")
def pipe_by_lane():
    return pipe


@app.function(scaledown_window=5, timeout=120, secrets=[modal.Secret.from_dict({"GRIDIRON_FAST_LANE": "off"})])
@modal.concurrent(max_inputs=2)
@modal.asgi_app(label="lanes-pipe-without")
def pipe_without():
    return pipe


@app.cls(scaledown_window=5)
@modal.concurrent(max_inputs=4)
class Bazaar:
    @endpoint(method="POST", label="lanes-bazaar")
    async def sell(self, data: dict):
        await asyncio.sleep(data.get("for", 0))
        return about()

    @modal.method()
    async def count(self, n: int) -> str:
        return f"{n} {os.environ['MODAL_TASK_ID']}"


@app.cls(scaledown_window=5)
class Stall:
    street: str = modal.parameter()
    number: int = modal.parameter(default=1)

    @endpoint(method="POST", label="lanes-stall")
    async def sell(self, data: dict):
        return {**about(), "at": f"{self.street} {self.number}"}

    @modal.method()
    def where(self) -> str:
        return f"{self.street} {self.number} {os.environ['MODAL_TASK_ID']}"


fed = []


@app.function(scaledown_window=5)
@modal.concurrent(max_inputs=2)
@endpoint(method="POST")
async def feed(data: dict):
    from fastapi.responses import StreamingResponse

    async def morsels():
        try:
            while True:
                yield b"crumb\n"
                await asyncio.sleep(0.02)
        finally:
            fed.append("closed")

    return {"fed": fed} if data.get("look") else StreamingResponse(morsels())


@app.function(scaledown_window=5)
@modal.wsgi_app()
def plain():
    def wsgi(environ, start_response):
        size = len(environ["wsgi.input"].read())
        start_response("200 OK", [("content-type", "text/plain")])
        return [f"{environ['REQUEST_METHOD']} {size} {modal.current_input_id()}".encode()]

    return wsgi


@app.function(scaledown_window=5, secrets=[modal.Secret.from_dict({"GRIDIRON_FAST_LANE": "off"})])
@endpoint(method="POST")
async def without(data: dict):
    return about()

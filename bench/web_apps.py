"""What bench/web asks: the same endpoint by the fast lane and by the client's own loop, and (`peer`) as the client builds
it, for uvicorn."""


async def nothing(item: dict):
    return item


def peer():
    from fastapi import FastAPI
    from fastapi.middleware.cors import CORSMiddleware
    app = FastAPI(openapi_url=None)
    app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_credentials=True, allow_methods=["*"],
                       allow_headers=["*"])
    app.add_api_route("/", nothing, methods=["POST"])
    return app


async def bare(scope, receive, send):
    """GET: a gigabyte in pieces of 64 KiB. A WebSocket: what it hears."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % (1 << 30))]})
        piece = bytes(1 << 16)
        for at in range(1 << 14):
            await send({"type": "http.response.body", "body": piece, "more_body": at + 1 < 1 << 14})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
    else:
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})


try:
    import modal
except ImportError:  # the peer's interpreter has none
    pass
else:
    app = modal.App("bench-web")
    image = modal.Image.debian_slim().pip_install("fastapi")
    one = {"image": image, "max_containers": 1, "scaledown_window": 300}

    @app.function(**one)
    @modal.concurrent(max_inputs=64)
    @modal.fastapi_endpoint(method="POST", label="bench-lane")
    async def lane(item: dict):
        return item

    @app.function(**one)
    @modal.concurrent(max_inputs=64)
    @modal.asgi_app(label="bench-bare")
    def lane_bare():
        return bare

    @app.function(secrets=[modal.Secret.from_dict({"GRIDIRON_FAST_LANE": "off"})], **one)
    @modal.concurrent(max_inputs=64)
    @modal.fastapi_endpoint(method="POST", label="bench-stock")
    async def stock(item: dict):
        return item

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

    @app.function(secrets=[modal.Secret.from_dict({"GRIDIRON_FAST_LANE": "off"})], **one)
    @modal.concurrent(max_inputs=64)
    @modal.fastapi_endpoint(method="POST", label="bench-stock")
    async def stock(item: dict):
        return item

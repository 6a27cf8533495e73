"""Answers who it is; /die takes the container with it, and all that it runs then; /slow takes a second."""
import asyncio
import os
import signal

import modal

app = modal.App("drained")
secret = modal.Secret.from_dict({"WORD": os.environ.get("WORD", "")})


@app.function(image=modal.Image.debian_slim(), secrets=[secret], min_containers=1, max_containers=3)
@modal.concurrent(max_inputs=4)
@modal.asgi_app()
def web():
    async def asgi(scope, receive, send):
        if scope["type"] != "http":
            return
        await receive()
        if scope["path"].endswith("/slow"):
            await asyncio.sleep(1)
        if scope["path"].endswith("/die"):
            os.kill(os.getpid(), signal.SIGKILL)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-word", os.environ["WORD"].encode())]})
        await send({"type": "http.response.body", "body": b"took " + scope["query_string"]})

    return asgi

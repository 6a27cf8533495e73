import os
import time

import modal

app = modal.App("web")
# The older name, as long as a client takes it.
old = tuple(int(part) for part in modal.__version__.split(".")[:2]) < (1, 4)
endpoint = modal.web_endpoint if old else modal.fastapi_endpoint


@app.function(secrets=[modal.Secret.from_name("web-secret")], scaledown_window=6)
@endpoint(method="POST")
def echo(data: dict):
    print("echoing", data.get("word"))
    return {"word": data.get("word"), "secret": os.environ.get("WEB_SECRET"), "pid": os.getpid()}


@app.function()
@endpoint(method="POST")
def trouble(data: dict):
    if data.get("how") == "raise":
        raise RuntimeError("asked for trouble")
    if data.get("how") == "exit":
        os._exit(3)
    if data.get("how") == "sleep":
        time.sleep(data["seconds"])
    return {"fine": True}


@app.function()
@endpoint(method="POST", requires_proxy_auth=True)
def guarded(data: dict):
    return {"word": data["word"]}


@app.function()
@endpoint(method="POST")
def size(data: dict):
    return {"bytes": len(data["payload"])}


@app.function(image=modal.Image.debian_slim())
@modal.asgi_app()
def stream():
    async def asgi(scope, receive, send):
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        for i in range(5):
            await send({"type": "http.response.body", "body": b"line %d\n" % i, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return asgi

"""Host names of its own, which the deployer's environment says; /-/ paths of them are the function's, too."""
import os

import modal

names = [name for name in os.environ.get("DOMAINS", "hooks.example.org").split(",") if name]
app = modal.App(os.environ.get("DOMAINS_APP", "domains"))


@app.function(image=modal.Image.debian_slim())
@modal.asgi_app(label=os.environ.get("LABEL"), custom_domains=names)
def web():
    async def asgi(scope, receive, send):
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        host = dict(scope["headers"])[b"host"]
        await send({"type": "http.response.body", "body": host + b" " + scope["path"].encode()})

    return asgi

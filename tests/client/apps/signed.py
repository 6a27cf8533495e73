import modal

app = modal.App("signed", tags={"webhook.pushed": "github.signed-github", "webhook.odd": "github.not-there"})


@app.function(image=modal.Image.debian_slim())
@modal.asgi_app()
def pushed():
    async def asgi(scope, receive, send):
        if scope["type"] != "http":
            return
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"took " + body})

    return asgi


@app.function(image=modal.Image.debian_slim())
@modal.asgi_app()
def odd():
    async def asgi(scope, receive, send):
        raise AssertionError("nobody can get here")

    return asgi

import modal

app = modal.App("limited", tags={"limit.slow": "2-per-hour", "limit.odd": "fast", "limit.each.client": "1-per-hour"})
image = modal.Image.debian_slim()


@app.function(image=image)
@modal.asgi_app()
def slow():
    async def asgi(scope, receive, send):
        if scope["type"] != "http":
            return
        traced = dict(scope["headers"]).get(b"traceparent", b"")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": traced})

    return asgi


@app.function(image=image)
@modal.asgi_app()
def odd():
    raise AssertionError("nobody can get here")


@app.function(image=image)
@modal.asgi_app()
def each():
    async def asgi(scope, receive, send):
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["client"][0].encode()})

    return asgi

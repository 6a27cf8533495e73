import modal

app = modal.App("broken")


@app.function()
@modal.fastapi_endpoint()
def hello():
    return "never"


if not modal.is_local():
    import there_is_no_such_module  # noqa: F401

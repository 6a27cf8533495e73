"""What the measurements call: a function that does nothing, as a web address. It leaves after 2 s without work."""
import modal

app = modal.App("bench")
image = modal.Image.debian_slim().pip_install("fastapi")


@app.function(image=image, scaledown_window=2)
@modal.fastapi_endpoint(method="POST", label="bench")
def nothing(item: dict):
    return item

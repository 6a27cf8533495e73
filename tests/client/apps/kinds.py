"""What a start is of: an image, an app's code, a secret, a client. tests/client/test_cold_start.py fills in the first two."""

import os

import modal

app = modal.App("kinds")
image = modal.Image.debian_slim().env({"KIND": "IMAGE"})
old = tuple(int(part) for part in modal.__version__.split(".")[:2]) < (1, 4)
endpoint = modal.web_endpoint if old else modal.fastapi_endpoint


@app.function(image=image, secrets=[modal.Secret.from_name("kinds-secret")], scaledown_window=2)
@endpoint(method="POST")
def what(data: dict):
    return {"image": os.environ["KIND"], "code": "CODE", "secret": os.environ["KINDS_SECRET"],
            "client": modal.__version__}

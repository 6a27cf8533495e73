"""What `bench/web many` asks: one function with as many containers as MANY says when it is deployed."""
import os

import modal

app = modal.App("bench-many")
many = int(os.environ.get("MANY", "1"))


@app.function(image=modal.Image.debian_slim().pip_install("fastapi"), min_containers=many, max_containers=many, cpu=0.01,
              memory=16)
@modal.concurrent(max_inputs=64)
@modal.fastapi_endpoint(method="POST", label="bench-many")
async def answer(item: dict):
    return item

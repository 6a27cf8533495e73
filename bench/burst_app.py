"""What bench/burst calls: small web functions, of which each container takes one request at a time, or one at all."""
import modal

app = modal.App("bench-burst")
image = modal.Image.debian_slim().pip_install("fastapi")


@app.function(image=image, cpu=0.01, memory=16, scaledown_window=2, timeout=600)
@modal.fastapi_endpoint(method="POST", label="bench-burst")
def holds(item: dict):
    import time
    time.sleep(item.get("seconds", 0))  # so that no container serves two of a burst
    return item


@app.function(image=image, cpu=0.01, memory=16, single_use_containers=True)
@modal.fastapi_endpoint(method="POST", label="bench-once")
def once(item: dict):
    return item

"""What bench/burst calls: a small web function, of which each container takes one request at a time."""
import modal

app = modal.App("bench-burst")
image = modal.Image.debian_slim().pip_install("fastapi")


@app.function(image=image, cpu=0.01, memory=32, scaledown_window=2, timeout=120)
@modal.fastapi_endpoint(method="POST", label="bench-burst")
def holds(item: dict):
    import time
    time.sleep(item.get("seconds", 0))  # so that no container serves two of a burst
    return item

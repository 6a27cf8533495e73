"""What bench/map calls: the smallest function there is, one input at a time and in batches of a hundred."""
import modal

app = modal.App("bench-map")
image = modal.Image.debian_slim()


@app.function(image=image, max_containers=1, scaledown_window=60)
def plain(x: int) -> int:
    return x + 1


@app.function(image=image, max_containers=1, scaledown_window=60)
@modal.batched(max_batch_size=100, wait_ms=50)
def batched(xs: list[int]) -> list[int]:
    return [x + 1 for x in xs]

"""What bench/cold_start calls: a web function that works with a data frame; it leaves after 2 s without work."""
import modal
import numpy
import pandas

app = modal.App("bench-frame")
image = modal.Image.debian_slim().pip_install("numpy", "pandas")


@app.function(image=image, scaledown_window=2)
@modal.fastapi_endpoint(method="POST", label="bench-frame")
def totals(data: dict):
    frame = pandas.DataFrame({"values": numpy.arange(int(data.get("rows", 100)))})
    return {"sum": int(frame["values"].sum())}

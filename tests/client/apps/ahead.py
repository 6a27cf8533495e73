import modal

app = modal.App("ahead")
image = modal.Image.debian_slim().env({"ONLY_HERE": "1"})
old = tuple(int(part) for part in modal.__version__.split(".")[:2]) < (1, 4)
endpoint = modal.web_endpoint if old else modal.fastapi_endpoint


@app.function(image=image, scaledown_window=2)
@endpoint(method="POST")
def first(data: dict):
    return data

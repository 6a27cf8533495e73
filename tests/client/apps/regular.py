import modal

app = modal.App("regular", tags={"predict": "on"})


@app.function(image=modal.Image.debian_slim(), scaledown_window=2)
@(modal.fastapi_endpoint if hasattr(modal, "fastapi_endpoint") else modal.web_endpoint)(method="POST")
def tick(data: dict):
    return data

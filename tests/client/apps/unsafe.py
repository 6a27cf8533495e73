import modal

app = modal.App("unsafe")
image = modal.Image.debian_slim().pip_install("grpcio")
old = tuple(int(part) for part in modal.__version__.split(".")[:2]) < (1, 4)
endpoint = modal.web_endpoint if old else modal.fastapi_endpoint

if not modal.is_local():
    import grpc


@app.function(image=image, scaledown_window=2)
@endpoint(method="POST")
def version(data: dict):
    channel = grpc.insecure_channel("127.0.0.1:1")  # its threads and its poller work
    channel.close()
    return {"grpc": grpc.__version__}

"""What bench/cold_start calls: the example of the README, which leaves after 2 s without work."""
import modal

app = modal.App("bench-page")
image = modal.Image.debian_slim().apt_install("curl").pip_install("httpx", "beautifulsoup4")


@app.function(image=image, scaledown_window=2)
@modal.fastapi_endpoint(method="POST", label="bench-page")
def summarize(data: dict):
    import httpx
    from bs4 import BeautifulSoup

    page = BeautifulSoup(data.get("html", ""), "html.parser")
    return {"title": page.title.string if page.title else None, "httpx": httpx.__version__}

"""What bench/idle keeps a zygote for: three images, a web function on each."""
import modal

app = modal.App("bench-idle")
small = modal.Image.debian_slim().pip_install("fastapi")
numbers = modal.Image.debian_slim().pip_install("fastapi", "numpy")
pages = modal.Image.debian_slim().pip_install("fastapi", "httpx", "beautifulsoup4")


@app.function(image=small, scaledown_window=2)
@modal.fastapi_endpoint(method="POST", label="bench-idle-small")
def plain(item: dict):
    return item


@app.function(image=numbers, scaledown_window=2)
@modal.fastapi_endpoint(method="POST", label="bench-idle-numbers")
def sums(item: dict):
    import numpy
    return {"sum": int(numpy.arange(10).sum())}


@app.function(image=pages, scaledown_window=2)
@modal.fastapi_endpoint(method="POST", label="bench-idle-pages")
def titles(item: dict):
    import bs4
    import httpx
    return {"title": bs4.BeautifulSoup("<title>t</title>", "html.parser").title.string, "httpx": httpx.__version__}

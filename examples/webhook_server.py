"""A webhook that tells what a page is about: `modal deploy webhook_server.py`, then POST {"html": "<title>…"}.

Nothing in it knows of Gridiron: it is code for the official `modal` client.
"""

import os

import modal

app = modal.App("webhook-server")
image = modal.Image.debian_slim().apt_install("curl").pip_install("httpx", "beautifulsoup4")


@app.function(image=image, secrets=[modal.Secret.from_name("webhook-secret")], scaledown_window=20)
@modal.fastapi_endpoint(method="POST")
def summarize(data: dict):
    import httpx
    from bs4 import BeautifulSoup

    page = BeautifulSoup(data.get("html", ""), "html.parser")
    print("summarize:", page.title.string if page.title else "no title")
    return {
        "title": page.title.string if page.title else None,
        "links": [a.get("href") for a in page.find_all("a")],
        "httpx": httpx.__version__,
        "secret_is_set": bool(os.environ.get("WEBHOOK_TOKEN")),
    }

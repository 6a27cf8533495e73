"""An app of which only the client's end runs, until somebody ends it."""

import time

import modal

app = modal.App("idle")


@app.local_entrypoint()
def main():
    print("it runs", flush=True)
    time.sleep(600)

"""What it answers is the deployer's environment's word, taken when it is deployed."""

import os

import modal

app = modal.App("rolls")
word = os.environ.get("ROLLS_WORD", "")
secret = modal.Secret.from_dict({"ROLLS_WORD": word})


@app.function(secrets=[secret])
@modal.fastapi_endpoint(method="POST")
def answer() -> dict:
    return {"word": os.environ["ROLLS_WORD"]}

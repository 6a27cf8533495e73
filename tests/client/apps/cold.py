import os
import random
import sys
import uuid

import modal

HAD = "sqlite3" in sys.modules
import sqlite3  # noqa: E402

app = modal.App("cold")
old = tuple(int(part) for part in modal.__version__.split(".")[:2]) < (1, 4)
endpoint = modal.web_endpoint if old else modal.fastapi_endpoint
DRAWN = [random.random(), str(uuid.uuid4())]


@app.function(secrets=[modal.Secret.from_name("cold-secret")], scaledown_window=2)
@endpoint(method="POST")
def facts(data: dict):
    left = os.path.exists("/root/left")
    open("/root/left", "w").close()
    leaked = getattr(sqlite3, "leaked", None)
    sqlite3.leaked = os.environ["COLD_SECRET"]
    return {"had": HAD, "left": left, "leaked": leaked, "secret": os.environ["COLD_SECRET"], "drawn": DRAWN,
            "main": sys.modules["__main__"].__spec__.name, "path": sys.path, "argv": sys.argv,
            "task": os.environ["MODAL_TASK_ID"]}

import modal

app = modal.App("missing-secret")


@app.function(secrets=[modal.Secret.from_name("web-secrte")])
def never():
    pass

import modal

app = modal.App("syntax")


@app.function()
def never(:
    pass

import modal

app = modal.App("bad-package")
image = modal.Image.debian_slim().pip_install("this-package-is-not-to-be-found-anywhere")


@app.function(image=image)
def never():
    pass

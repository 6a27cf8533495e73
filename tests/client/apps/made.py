import pathlib

import modal


def write(text: str):
    print("writing", text)
    pathlib.Path("/made.txt").write_text(text)


def fail():
    pathlib.Path("/made.txt").write_text("half")
    raise ValueError("nothing comes of this")


app = modal.App("made")
image = modal.Image.debian_slim().run_function(write, args=("by a function",))


@app.function(image=image)
def read() -> str:
    return pathlib.Path("/made.txt").read_text()


@app.local_entrypoint()
def main():
    print(f"read: {read.remote()}")


broken = modal.App("made-broken")


@broken.function(image=modal.Image.debian_slim().run_function(fail))
def never():
    pass


@broken.local_entrypoint()
def breaks():
    never.remote()

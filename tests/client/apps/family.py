import modal

app = modal.App("family")


@app.function()
def leaf(x: int) -> int:
    if x < 0:
        raise ValueError("below zero")
    return x


@app.function()
def branch(x: int) -> list:
    return list(leaf.map([x, x + 1])) + [leaf.spawn(x + 2).object_id]


@app.cls()
class Tree:
    @modal.method()
    def grow(self, x: int):
        calls = [branch.spawn(x), leaf.spawn(-1)]
        return [call.object_id for call in calls], calls[0].get()

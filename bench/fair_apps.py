"""The other app of `fairness`: a function that gives back what it is given. Run by its path it is that map's client."""
import sys

import modal

app = modal.App("bench-map")


@app.function(image=modal.Image.debian_slim(), scaledown_window=2)
def same(x):
    return x


if __name__ == "__main__":
    seen = 0
    print("begun", flush=True)
    for _ in modal.Function.from_name("bench-map", "same").map(range(int(sys.argv[1])), order_outputs=False):
        seen += 1
        if seen % 100 == 0:
            print(seen, flush=True)

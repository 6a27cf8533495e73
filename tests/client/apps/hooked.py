import time

import modal

app = modal.App("hooked")


@app.cls(image=modal.Image.debian_slim(), scaledown_window=2)
class Model:
    @modal.enter()
    def load(self):
        time.sleep(0.3)

    @modal.method()
    def answer(self, number: int) -> int:
        return number + 1

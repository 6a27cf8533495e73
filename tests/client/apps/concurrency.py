import asyncio
import os
import threading

import modal

app = modal.App("concurrency")
endpoint = getattr(modal, "fastapi_endpoint", None) or modal.web_endpoint


class Meeting:
    """Who comes waits until `size` are there at once; says how many were there at most, and in which container."""

    def __init__(self):
        self.lock, self.here, self.most, self.barriers = threading.Lock(), 0, 0, {}

    def enter(self, size):
        with self.lock:
            self.here += 1
            self.most = max(self.most, self.here)
            return self.barriers.setdefault(size, threading.Barrier(size))

    def leave(self):
        with self.lock:
            self.here -= 1

    def meet(self, size):
        barrier = self.enter(size)
        try:
            barrier.wait(timeout=30)
            return self.most, os.environ["MODAL_TASK_ID"]
        finally:
            self.leave()

    async def meet_async(self, size):
        barrier = self.enter(size)
        try:
            await asyncio.wait_for(asyncio.to_thread(barrier.wait), timeout=30)
            return self.most, os.environ["MODAL_TASK_ID"]
        finally:
            self.leave()


meeting = Meeting()


@app.function(max_containers=1)
@modal.concurrent(max_inputs=4)
def meets(size: int):
    return meeting.meet(size)


@app.function(max_containers=1)
@modal.concurrent(max_inputs=4)
async def meets_async(size: int):
    return await meeting.meet_async(size)


@app.function(max_containers=1)
@modal.concurrent(max_inputs=4, target_inputs=2)
def meets_above_the_target(size: int):
    return meeting.meet(size)


@app.function()
@modal.concurrent(max_inputs=10, target_inputs=2)
async def waits():
    await asyncio.sleep(600)


@app.function(max_containers=1)
@endpoint(method="POST")
@modal.concurrent(max_inputs=5)
def meets_on_the_web(data: dict):
    return {"most": meeting.meet(data["size"])[0]}


@app.cls(max_containers=1)
@modal.concurrent(max_inputs=3)
class Room:
    @modal.enter()
    def open(self):
        self.meeting = Meeting()

    @modal.method()
    def meet(self, size: int):
        return self.meeting.meet(size)

    @modal.method()
    async def meet_async(self, size: int):
        return await self.meeting.meet_async(size)


@app.function(max_containers=1)
@modal.concurrent(max_inputs=2)
async def fails_or_waits(how: str):
    if how == "wait":
        await asyncio.sleep(600)
    if how == "fail":
        raise ValueError("failed beside others")
    return how


@app.function(max_containers=1)
def alone(size: int):
    return meeting.meet(size)

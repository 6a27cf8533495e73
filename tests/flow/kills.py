#!/usr/bin/env python3
"""kill -9 at random moments of a real client's work: every result comes, once.

    tests/flow/kills.py build/gridiron --kill both --seed 7 --inputs 10000 --spawns 100

A map of --inputs and --spawns spawned calls run while --kill is killed --kills times, and started again at once:
    control     control alone; its worker and the containers live on
    worker      the worker alone, and with it all containers; control lives on
    both        `gridiron up`: control and worker in one process
    containers  some of the containers that run
    mix         now this, now that, with control and worker as processes of their own
The seed decides the moments, what is killed, and whether the map's results come in order. The last line is the summary;
the exit status is not 0 when a result is missing, wrong, or came twice. Needs root and tools/client-venv.
"""
import argparse
import collections
import hashlib
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
try:
    import modal
except ImportError:
    venv = subprocess.run([TOP / "tools" / "client-venv", os.environ.get("MODAL_VERSION", "1.6.4")], check=True,
                          stdout=subprocess.PIPE, text=True).stdout.strip()
    os.execv(f"{venv}/bin/python", [f"{venv}/bin/python", *sys.argv])

sys.path.insert(0, str(HERE))
from grid import END_SECONDS, GRIDIRON, READY_SECONDS, Folder, Grid  # noqa: E402

APP = """
import time
import modal
app = modal.App("kills")
again = modal.Retries(max_retries=10, initial_delay=0, backoff_coefficient=1.0)

@app.function(retries=again, max_containers=3, scaledown_window=30)
def double(x):
    return x, 2 * x

@app.function(retries=again, max_containers=2, scaledown_window=30)
@modal.concurrent(max_inputs=10)
def slow(x):
    time.sleep(0.5)
    return x, 3 * x
"""


MIXED = ["control", "worker", "both", "containers"]


class Running:
    """The grid's processes under a supervisor that starts again what was killed."""

    def __init__(self, folder, apart):
        self.grid = Grid(folder, "control" if apart else "up")
        self.grid.__enter__()
        self.worker = None
        if apart:
            self.start_worker()

    def start_worker(self):
        folder = self.grid.folder
        with open(folder.top / "worker.log", "a") as log:
            self.worker = subprocess.Popen(
                [GRIDIRON, "worker", "--join", self.grid.url, "--data", str(folder.top / "worker"),
                 "--secret-file", str(folder.data / "worker-secret")], env=folder.environment, stderr=log)

    def kill(self, what, rng):
        """Kills and starts again; says what it was."""
        if what == "containers":
            return self.kill_containers(rng)
        processes = {"control": [self.grid.process], "worker": [self.worker],
                     "both": [p for p in (self.grid.process, self.worker) if p]}[what]
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
        if self.grid.process in processes:
            self.grid.start()
        if self.worker in processes:
            self.start_worker()
        return what

    def kill_containers(self, rng):
        mains = self.containers()
        some = rng.sample(mains, rng.randint(1, len(mains))) if mains else []
        for pid in some:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it ended by itself
        return f"{len(some)} of {len(mains)} containers"

    def containers(self):
        """The first process of each container, by the groups of this grid."""
        worker = self.grid.folder.top / "worker" if self.worker else self.grid.folder.data
        name = hashlib.sha256(str(worker.resolve()).encode()).hexdigest()[:6]
        found = {}
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                group = (entry / "cgroup").read_text()
            except OSError:
                continue
            if f"gridiron-{name}/" in group:
                found[group] = min(found.get(group, 1 << 30), int(entry.name))
        return sorted(found.values())

    def end(self):
        for process in (self.worker, self.grid.process):
            if process and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(END_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


class Killer(threading.Thread):
    """Kills when so many results have come, a moment later."""

    def __init__(self, running, options, rng):
        super().__init__(daemon=True)
        self.running, self.rng = running, rng
        self.kinds = [options.kill] * options.kills
        if options.kill == "mix":
            self.kinds = [rng.choice(MIXED) for _ in range(options.kills)]
            self.kinds[:len(MIXED)] = rng.sample(MIXED, len(MIXED))[:options.kills]  # each of them once at least
        least, most = options.inputs // 50, options.inputs * 9 // 10
        self.moments = sorted(rng.sample(range(least, most), options.kills))
        self.came = 0
        self.done = []
        self.failure = None
        self.progress = threading.Condition()

    def result_came(self):
        with self.progress:
            self.came += 1
            self.progress.notify()

    def run(self):
        try:
            for moment, what in zip(self.moments, self.kinds):
                with self.progress:
                    self.progress.wait_for(lambda: self.came >= moment)
                time.sleep(self.rng.uniform(0, 0.3))
                killed = self.running.kill(what, self.rng)
                self.done.append(moment)
                print(f"after {moment} results: killed {killed}", flush=True)
        except BaseException as failure:  # the main thread tells it
            self.failure = failure


class Spawner(threading.Thread):
    """Spawns all along the map, and gets every result. A spawn that was refused was not accepted: it is tried again."""

    def __init__(self, function, count, pause):
        super().__init__(daemon=True)
        self.function, self.count, self.pause = function, count, pause
        self.results = []
        self.refused = collections.Counter()
        self.failure = None

    def patiently(self, ask):
        deadline = time.monotonic() + 120
        while True:
            try:
                return ask()
            except (ConnectionError, modal.exception.ServiceError, modal.exception.InternalError) as refused:
                if time.monotonic() > deadline:
                    raise
                self.refused[type(refused).__name__] += 1
                time.sleep(0.2)

    def run(self):
        try:
            calls = []
            for number in range(self.count):
                calls.append(self.patiently(lambda: self.function.spawn(number)))
                time.sleep(self.pause)
            for call in calls:
                self.results.append(self.patiently(lambda: call.get(timeout=300)))
        except BaseException as failure:  # the main thread tells it
            self.failure = failure


def deploy(folder, grid):
    token = folder.json("token", "new")
    (folder.top / "kills_app.py").write_text(APP)
    os.environ.update(MODAL_SERVER_URL=grid.url, MODAL_TOKEN_ID=token["token_id"],
                      MODAL_TOKEN_SECRET=token["token_secret"], MODAL_CONFIG_PATH=str(folder.top / "modal.toml"))
    done = subprocess.run([sys.executable, "-m", "modal", "deploy", str(folder.top / "kills_app.py")], text=True,
                          capture_output=True)
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)


def faults_in(results, count, factor, what):
    faults = []
    if len(results) != count:
        faults.append(f"{len(results)} of {count} {what} results")
    twice = [x for x, times in collections.Counter(map(tuple, results)).items() if times > 1]
    if twice:
        faults.append(f"{what} results that came twice: {twice[:5]}")
    wrong = set(map(tuple, results)) ^ {(x, factor * x) for x in range(count)}
    if wrong:
        faults.append(f"{what} results wrong or missing: {sorted(wrong)[:5]}")
    return faults


def work(options, running, rng):
    """Runs it; gives the faults and the summary's middle."""
    double = modal.Function.from_name("kills", "double")
    slow = modal.Function.from_name("kills", "slow")
    double.remote(0)  # image and first container are not what is measured
    killer = Killer(running, options, rng)
    spawner = Spawner(slow, options.spawns, options.inputs * 0.003 / max(options.spawns, 1))
    ordered = rng.random() < 0.5
    started = previous = time.monotonic()
    worst, results = 0.0, []
    killer.start()
    spawner.start()
    for result in double.map(range(options.inputs), order_outputs=ordered):
        now = time.monotonic()
        worst, previous = max(worst, now - previous), now
        results.append(result)
        killer.result_came()
    took = time.monotonic() - started
    spawner.join(600)
    killer.join(60)
    faults = faults_in(results, options.inputs, 2, "map") + faults_in(spawner.results, options.spawns, 3, "spawn")
    if ordered and results != sorted(results):
        faults.append("the results of an ordered map came out of order")
    faults += [repr(thread.failure) for thread in (killer, spawner) if thread.failure]
    if len(killer.done) != options.kills:
        faults.append(f"only {len(killer.done)} of {options.kills} kills")
    again = sum(spawner.refused.values())
    return faults, (f"{len(results)} of {options.inputs} map results ({'' if ordered else 'un'}ordered) and "
                    f"{len(spawner.results)} of {options.spawns} spawns in {took:.1f} s, longest pause {worst:.1f} s, "
                    f"{again} spawns or gets asked again")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kill", choices=[*MIXED, "mix"], default="mix")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 100000)
    parser.add_argument("--inputs", type=int, default=500)
    parser.add_argument("--spawns", type=int, default=20)
    parser.add_argument("--kills", type=int, default=4)
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("skipped: containers need root")
        return 0
    print(f"seed {options.seed}", flush=True)
    folder = Folder()
    folder.environment.pop("GRIDIRON_CACHE")  # images and wheels are kept from run to run
    running = Running(folder, options.kill in ("control", "worker", "mix"))
    try:
        deploy(folder, running.grid)
        faults, summary = work(options, running, random.Random(options.seed))
        for fault in faults:
            print("FAULT", fault)
        if faults:
            print((folder.top / "log").read_text()[-6000:])
        print(f"kill {options.kill} × {options.kills}, seed {options.seed}: {summary}: "
              f"{'FAILED' if faults else 'each once'}", flush=True)
        return 1 if faults else 0
    finally:
        running.end()
        folder.remove()


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # threads of a client that waits for ever must not hold the process

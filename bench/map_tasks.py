"""The same as map_apps.py, for Celery. bench/map tells where the broker is."""
import os

import celery

app = celery.Celery("map_tasks", broker=os.environ["BENCH_REDIS"], backend=os.environ["BENCH_REDIS"])
app.conf.worker_prefetch_multiplier = 100
app.conf.broker_connection_retry_on_startup = True


@app.task
def plain(x):
    return x + 1


@app.task
def chunk(xs):
    return [x + 1 for x in xs]

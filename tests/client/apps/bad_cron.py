import modal

app = modal.App("bad-cron")


@app.function(schedule=modal.Cron("61 * * * *"))
def never():
    pass

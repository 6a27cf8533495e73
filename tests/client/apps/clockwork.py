import modal

app = modal.App("clockwork")


@app.function(schedule=modal.Period(seconds=2))
def tick():
    print("tick tock")


@app.function(schedule=modal.Cron("0 6 * * *", timezone="America/New_York"))
def morning():
    print("good morning")

# The peer of the bench: FastAPI, appending each record and syncing it before
# it answers.
import json
import os

from fastapi import FastAPI, Request

app = FastAPI()
log = open(os.environ["PEER_LOG"], "ab", buffering=0)


@app.post("/logs")
async def post(request: Request):
    body = await request.body()
    json.loads(body)
    log.write(body)
    os.fsync(log.fileno())
    return {"stored": 1}

"""FastAPI: enqueue in a request, look at the job in another.

    uvicorn examples.fastapi_app:api             # as many web processes as you like
    capelin worker examples.fastapi_app:app      # as many workers as you like

Web and workers share this module and a Redis, and no line of code about each other.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException

from capelin import Capelin, JobNotFound, JobStatus

app = Capelin()


@app.task(queue="emails")
async def welcome(address: str) -> str:
    """Send a mail; here it only says so."""
    return f"sent to {address}"


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    """Close capelin's connections when the server stops; they open when first used."""
    async with app:
        yield


api = FastAPI(lifespan=lifespan)


@api.post("/signup", status_code=202)
async def signup(address: str) -> dict[str, Any]:
    """Answer at once; the mail is sent by a worker. A second signup meanwhile sends no second one."""
    job = await welcome.options(dedupe_key=address).enqueue(address)
    return {"job": job.id, "duplicate": job.duplicate}


@api.get("/jobs/{job_id}")
async def job_status(job_id: str) -> dict[str, Any]:
    """Tell how a job stands."""
    try:
        info = await app.job(job_id).info()
    except JobNotFound as error:
        raise HTTPException(404, str(error)) from error
    return {"status": info.status, "result": info.result if info.status is JobStatus.COMPLETED else None}

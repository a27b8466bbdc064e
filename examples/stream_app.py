"""A FastAPI application that streams what a job says to the browser, as server-sent events. Its process runs jobs too.

    uvicorn examples.stream_app:app
    curl -X POST 'localhost:8000/answers?question=Who+are+you'    # {"job": "0123…"}
    curl -N localhost:8000/answers/0123…

In a browser, ``new EventSource("/answers/" + job)`` gets the words, however late it comes. When its connection
breaks, it goes on where it was.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import FastAPI, Header
from fastapi.responses import StreamingResponse

from asyncwork import Client, Job, WorkerPool

from .event_source import event_source

NAMESPACE = os.environ.get("ASYNCWORK_NAMESPACE", "my_app")

pool = WorkerPool(namespace=NAMESPACE)
app = FastAPI(lifespan=pool.lifespan)
client = Client(namespace=NAMESPACE)


async def generate(question: str) -> AsyncIterator[str]:
    """Yield an answer word by word, as a language model does."""
    for word in f"You asked {question!r}, and I am only an example.".split():
        await asyncio.sleep(0.02)
        yield word


@pool.job(stream=3600)  # the words can be read for an hour after the last one
async def answer(job: Job, question: str) -> None:
    words = 0
    async for word in generate(question):
        await job.emit(word)
        words += 1
        job.progress(words, text="words")


@app.post("/answers", status_code=202)
async def ask(question: str) -> dict[str, str]:
    job = await answer.enqueue(question)
    return {"job": job.id}


@app.get("/answers/{job_id}")
async def stream(job_id: str, last_event_id: Annotated[str, Header()] = "") -> StreamingResponse:
    return event_source(client, job_id, last_event_id)

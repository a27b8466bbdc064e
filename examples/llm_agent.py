"""An agent of a language model: its turns are durable steps, its calls share a limit, and the browser sees it think.

    uvicorn examples.llm_agent:app
    curl -X POST 'localhost:8000/questions?text=How+warm+is+it+in+Oslo+and+Rome'   # {"job": "0123…"}
    curl -N localhost:8000/questions/0123…                                       # words and tool calls, as they come

The model is a function of this file: it asks for a tool, reads what the tool says, and answers. Stop the process at
any moment and start it again: the turns that were paid for are not asked for again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated

from fastapi import FastAPI, Header
from fastapi.responses import StreamingResponse

from asyncwork import Client, Job, Rate, WorkerPool

from .event_source import event_source

NAMESPACE = os.environ.get("ASYNCWORK_NAMESPACE", "my_app")
MOST_TURNS = 8

pool = WorkerPool(namespace=NAMESPACE)
# The quota of the service: 60,000 tokens a minute, and 20 calls at once, over all processes of the namespace.
model = pool.limit("model", rate=Rate(60_000, per=60, burst=5_000), concurrency=20)
app = FastAPI(lifespan=pool.lifespan)
client = Client(namespace=NAMESPACE)


@dataclass
class ToolCall:
    """A tool that the model wants to use."""

    tool: str
    argument: str


@dataclass
class Reply:
    """The model's turn: an answer, or the tools that it needs first."""

    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)


@dataclass
class Message:
    """A line of the conversation."""

    role: str
    text: str


async def ask_model(messages: list[Message], say: Callable[[str], Awaitable[None]]) -> Reply:
    """Answer as a language model does: slowly, word by word, and with calls of tools."""
    cities = [city for city in TEMPERATURES if city in messages[0].text]
    known = [each.text for each in messages if each.role == "tool"]
    if len(known) < len(cities):
        return Reply(calls=[ToolCall("temperature", city) for city in cities])
    answer = f"It is {' and '.join(known)}." if known else f"I only know the weather of {', '.join(TEMPERATURES)}."
    for word in answer.split():
        await asyncio.sleep(0.02)
        await say(word)
    return Reply(answer)


async def temperature(city: str) -> str:
    await asyncio.sleep(0.05)
    return f"{TEMPERATURES[city]}° in {city}"


TEMPERATURES = {"Oslo": -3, "Rome": 14, "Lima": 22}
TOOLS = {"temperature": temperature}


@pool.job(stream=3600, result=3600, max_fails=5, timeout=timedelta(minutes=10))
async def agent(job: Job, question: str) -> str:
    async def say(word: str) -> None:
        await job.emit({"word": word})

    async def turn(messages: list[Message]) -> Reply:
        # Only what the model is asked counts against the quota; the tools do not.
        async with model.slot(cost=100, wait=30):
            return await ask_model(messages, say)

    messages = [Message("user", question)]
    for number in range(MOST_TURNS):
        reply = await job.step(f"turn {number}", turn, messages)
        if not reply.calls:
            return reply.text
        messages.append(Message("model", f"needs {', '.join(each.tool for each in reply.calls)}"))
        messages += await asyncio.gather(*(use_tool(job, number, each) for each in reply.calls))
        job.progress(number + 1, MOST_TURNS, "turns")
    raise RuntimeError(f"no answer after {MOST_TURNS} turns")


async def use_tool(job: Job, turn: int, call: ToolCall) -> Message:
    said = await job.step(f"turn {turn}: {call.tool} {call.argument}", TOOLS[call.tool], call.argument)
    await job.emit({"tool": call.tool, "said": said})
    return Message("tool", said)


@app.post("/questions", status_code=202)
async def ask(text: str) -> dict[str, str]:
    job = await agent.enqueue(text)
    return {"job": job.id}


@app.get("/questions/{job_id}")
async def stream(job_id: str, last_event_id: Annotated[str, Header()] = "") -> StreamingResponse:
    return event_source(client, job_id, last_event_id)

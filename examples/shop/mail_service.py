"""A stand-in for a mail service: prints each e-mail instead of sending it.

uvicorn examples.shop.mail_service:app --port 8025
"""

from __future__ import annotations

from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Message(BaseModel):
    to: str
    text: str


@app.post("/messages", status_code=202)
async def send(message: Message) -> None:
    print(f"to {message.to}: {message.text}", flush=True)

"""The chunks that a job emits, as server-sent events: the response to an ``EventSource`` of a browser.

``stream_app`` and ``llm_agent`` return it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from fastapi.responses import StreamingResponse

from asyncwork import Client


def event_source(client: Client, job_id: str, last_event_id: str = "") -> StreamingResponse:
    """Return a response that streams the chunks of a job, until it has ended.

    :param last_event_id: the header of that name, with which a browser whose connection broke goes on where it was.
    """

    async def events() -> AsyncIterator[str]:
        # With `client.stream(job_id)` it would be the chunks alone.
        async for item in client.stream_items(job_id, after=last_event_id, timeout=60):
            if item.end:  # the browser closes its EventSource at this event
                yield f"id: {item.id}\nevent: end\ndata: {json.dumps(item.end)}\n\n"
            else:
                yield f"id: {item.id}\ndata: {json.dumps(item.chunk)}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")

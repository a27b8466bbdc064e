"""The sink of what a job emits: its stream in Redis when a pool runs it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent import futures
from typing import TYPE_CHECKING, Any, Protocol

from .._json.codec import encode_value
from ..errors import JobEndedError, UsageError
from .attempt import attempt_of

if TYPE_CHECKING:
    from ..job import Job

# Bytes of the JSON of a chunk.
CHUNK_LIMIT = 1_048_576
# Seconds between two checks that the event loop is still there, while a thread waits for it.
_CHECK = 1.0


class StreamSink(Protocol):
    """Takes the chunks that one attempt of a job emits to its stream."""

    async def emit(self, chunk: object) -> None: ...
    def emit_sync(self, chunk: object) -> None: ...


def encode_chunk(chunk: object) -> bytes:
    """Return a chunk as JSON.

    :raises ArgumentEncodingError: when JSON cannot hold it.
    :raises UsageError: when it is too long.
    """
    encoded = encode_value(chunk)
    if len(encoded) > CHUNK_LIMIT:
        raise UsageError(
            f"a chunk must have at most {CHUNK_LIMIT} bytes as JSON, not {len(encoded)}: emit it in several, or emit "
            "where it is stored"
        )
    return encoded


def is_in_thread_of(job: Job) -> bool:
    """Return whether the function of a job runs in this thread; if not, it has ended.

    :raises UsageError: when this is another thread than its function's, or a coroutine.
    """
    thread = attempt_of(job).thread
    if thread == threading.get_ident():
        return True
    if thread is not None:
        raise UsageError("emit_sync belongs to the thread in which the handler runs")
    if asyncio._get_running_loop() is not None:
        raise UsageError("emit_sync blocks its thread, which a coroutine must not: await job.emit(chunk)")
    return False


def emit_from_thread(emitting: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop, label: str) -> None:
    """Block this thread until a chunk is written in an event loop.

    :param emitting: writes it.
    :param label: the job's name and id, for errors.
    :raises JobEndedError: when the event loop has ended.
    :raises BaseException: what ``emitting`` raises.
    """
    ended = JobEndedError(f"{label} cannot emit: the event loop of its pool has ended")
    try:
        written = asyncio.run_coroutine_threadsafe(emitting, loop)
    except RuntimeError:
        emitting.close()
        raise ended from None
    # A coroutine that was passed to a loop in the moment in which the loop was closed never runs.
    while not futures.wait([written], _CHECK).done:
        if loop.is_closed():
            raise ended
    try:
        written.result()
    except futures.CancelledError:
        raise ended from None

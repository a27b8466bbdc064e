"""Collects what a job of a test emits, and passes it on to its stream if it has one in Redis."""

from __future__ import annotations

from typing import Any

from .._jobs.stream_sink import StreamSink, encode_chunk, is_in_thread_of
from .._json import codec
from ..errors import JobEndedError
from ..job import Job


class RecordedStream:
    """Takes the chunks of one attempt.

    :param stream: the stream in Redis; ``None`` for a job that runs in place.
    :ivar chunks: the chunks so far, as readers of the stream get them.
    """

    def __init__(self, job: Job, stream: StreamSink | None = None) -> None:
        self._job = job
        # The handler may replace them.
        self._name = f"{job.name} {job.id}"
        self._stream = stream
        self._has_ended = False
        self.chunks: list[Any] = []

    async def emit(self, chunk: object) -> None:
        """Add one chunk; see :meth:`Job.emit`."""
        encoded = encode_chunk(chunk)
        if self._stream is not None:
            await self._stream.emit(chunk)
        self._add(encoded)

    def emit_sync(self, chunk: object) -> None:
        """Add one chunk from the thread of the handler; see :meth:`Job.emit_sync`."""
        self._has_ended |= not is_in_thread_of(self._job)
        encoded = encode_chunk(chunk)
        if self._stream is not None:
            self._stream.emit_sync(chunk)
        self._add(encoded)

    def _add(self, encoded: bytes) -> None:
        if self._stream is None and self._has_ended:
            raise JobEndedError(
                f"{self._name} cannot emit: this attempt has ended; await each emit before the handler returns"
            )
        self.chunks.append(codec.decode(encoded))

    def end(self) -> tuple[Any, ...]:
        """Take no more chunks; return those so far."""
        self._has_ended = True
        return tuple(self.chunks)


def record_stream(job: Job) -> RecordedStream:
    """Return what collects the chunks of a job that a pool runs. Its stream in Redis gets them as before."""
    stream = RecordedStream(job, getattr(job, "_sink", None))
    if hasattr(job, "_sink"):
        job._sink = stream
    return stream

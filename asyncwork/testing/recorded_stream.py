"""Collects what a job of a test emits, and passes it on to its stream if it has one in Redis."""

from __future__ import annotations

from typing import Any

from .._jobs.chunk_sink import ChunkSink, encode_chunk
from .._json import codec
from ..errors import JobEndedError
from ..job import Job


class RecordedStream:
    """Takes the chunks of one attempt.

    :param name: the job's name and id, for errors.
    :param stream: the stream in Redis; ``None`` for a job that runs in place.
    :ivar chunks: the chunks so far, as readers of the stream get them.
    """

    def __init__(self, name: str, stream: ChunkSink | None = None) -> None:
        self._name = name
        self._stream = stream
        self._has_ended = False
        self.chunks: list[Any] = []

    async def emit(self, chunk: object) -> None:
        """Add one chunk; see :meth:`Job.emit`."""
        encoded = encode_chunk(chunk)
        if self._stream is not None:
            await self._stream.emit(chunk)
        elif self._has_ended:
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
    stream = RecordedStream(f"{job.name} {job.id}", getattr(job, "_sink", None))
    if hasattr(job, "_sink"):
        job._sink = stream
    return stream

"""Writes what running jobs emit to their streams in Redis."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextvars import Context
from dataclasses import replace
from typing import Any

from .._jobs.calling import Call
from .._jobs.printable import shown
from .._jobs.stream_sink import emit_from_thread, encode_chunk, is_in_thread_of
from .._redis.base_client import translated_errors
from .._redis.namespace import Namespace
from .._redis.stream_writer import StreamWriter
from ..errors import JobEndedError, UsageError
from ..job import Job
from .job_type import JobType
from .worker import Worker

# Bytes and chunks after which one write takes no more chunks.
_MAX_WRITE_BYTES, _MAX_WRITE_CHUNKS = 1_000_000, 500


class JobStreams:
    """The streams of a pool's running jobs. Their connection is opened when the first chunk is emitted.

    :param workers: the pool's workers; one of them runs the job that emits.
    :ivar closed: whether the pool has stopped. A plain function may still run in its thread.
    """

    def __init__(self, namespace: Namespace, workers: Sequence[Worker]) -> None:
        self.loop = asyncio.get_running_loop()
        self.workers = workers
        self._writer = StreamWriter(namespace)
        self._masked_url = namespace.redis.masked_url
        self.closed = False

    def attach(self, job_types: Mapping[str, JobType]) -> dict[str, JobType]:
        """Return the job types with calls by which each job of a type that has streams can emit."""
        return {name: replace(each, call=self._around(each)) for name, each in job_types.items()}

    def _around(self, job_type: JobType) -> Call:
        call, seconds = job_type.call, job_type.options.stream
        if seconds is None:
            return call

        def run(context: Any, job: Job) -> Any:
            job._sink = JobStream(self, job, int(seconds))  # type: ignore[arg-type]
            return call(context, job)

        return run

    async def write(self, worker: Worker, job: Job, attempt: int, seconds: int, chunks: Sequence[bytes]) -> int:
        """Write chunks of the job that a worker runs; return the number of its attempt, or 0 if another pool has it.

        :raises RedisUnavailable: when Redis refuses or cannot be reached. They may have been written.
        """
        queue, payload = worker.queue, worker.payload
        if queue is None or payload is None or worker.job is not job:
            return 0
        with translated_errors(self._masked_url):
            return await self._writer.write(
                queue, payload, job.id, chunks, attempt=attempt, lowest=max(1, job.fails + 1), seconds=seconds
            )

    async def close(self) -> None:
        """Close the connection. Chunks without a reply fail."""
        self.closed = True
        await self._writer.close()


class JobStream:
    """The stream of one attempt of a job.

    While one write waits for its reply, further chunks are collected for the next. So are those of one turn of the
    event loop.

    :param seconds: for how long the stream is kept after each write.
    """

    __slots__ = ("_attempt", "_job", "_pending", "_seconds", "_streams", "_worker", "_writing")

    def __init__(self, streams: JobStreams, job: Job, seconds: int) -> None:
        self._streams = streams
        self._job = job
        self._seconds = seconds
        # Found when the first chunk is emitted, because most jobs of a type may emit nothing.
        self._worker: Worker | None = None
        self._attempt = 0
        self._pending: deque[tuple[bytes, asyncio.Future[None]]] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def emit(self, chunk: object) -> None:
        """Write one chunk; see :meth:`Job.emit`."""
        encoded, loop = encode_chunk(chunk), self._streams.loop
        if asyncio.get_running_loop() is not loop:
            raise UsageError(
                "emit belongs to the event loop of the pool; a plain function, which runs in a thread, calls "
                "job.emit_sync(chunk)"
            )
        if not self._is_running():
            raise self._ended()
        written: asyncio.Future[None] = loop.create_future()
        self._pending.append((encoded, written))
        if self._writing is None:
            # Not in the job's context variables: it goes on for other callers when the code that started it has ended.
            self._writing = loop.create_task(self._write(), context=Context(), name="asyncwork writes a stream")
        await written

    def emit_sync(self, chunk: object) -> None:
        """Write one chunk from the thread of the handler; see :meth:`Job.emit_sync`."""
        if not is_in_thread_of(self._job):
            raise self._ended()
        emit_from_thread(self.emit(chunk), self._streams.loop, self._label())

    def _is_running(self) -> bool:
        if self._worker is None:
            self._worker = next((each for each in self._streams.workers if each.job is self._job), None)
        return self._worker is not None and self._worker.job is self._job and not self._streams.closed

    def _ended(self) -> JobEndedError:
        return JobEndedError(
            f"{self._label()} cannot emit: this attempt has ended, or another pool has the job; await each emit before "
            "the handler returns"
        )

    def _label(self) -> str:
        # The handler may have replaced them.
        return " ".join(each if type(each) is str else shown(each) for each in (self._job.name, self._job.id))

    async def _write(self) -> None:
        try:
            while self._pending:
                some = self._next_chunks()
                error: Exception | None = None
                try:
                    await self._write_chunks([chunk for chunk, _ in some])
                except Exception as raised:
                    error = raised
                for _, written in some:
                    if written.done():
                        continue
                    if error is None:
                        written.set_result(None)
                    else:
                        written.set_exception(error)
        finally:
            self._writing = None
            for _, written in self._pending:
                written.cancel()

    def _next_chunks(self) -> list[tuple[bytes, asyncio.Future[None]]]:
        some: list[tuple[bytes, asyncio.Future[None]]] = []
        size = 0
        while self._pending and size < _MAX_WRITE_BYTES and len(some) < _MAX_WRITE_CHUNKS:
            chunk, written = self._pending.popleft()
            # One whose caller was cancelled is not written.
            if not written.done():
                some.append((chunk, written))
                size += len(chunk)
        return some

    async def _write_chunks(self, chunks: Sequence[bytes]) -> None:
        if not chunks:
            return
        worker = self._worker
        assert worker is not None
        attempt = await self._streams.write(worker, self._job, self._attempt, self._seconds, chunks)
        if not attempt:
            raise self._ended()
        self._attempt = attempt

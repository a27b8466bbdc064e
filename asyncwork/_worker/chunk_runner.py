"""Runs the jobs of one type in chunks, in calls of their own beside the workers of the pool.

The jobs have a dispatcher of their own, so that no other type waits for them, and it takes as many as one chunk may
have while a call is free for it. A pool has as many calls for each type as it runs other jobs at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextvars import copy_context

from .._jobs.ids import make_identifier
from .._redis.commands import ReadPaused
from .._redis.queue import Queue
from .._redis.work_queue import HeldJob
from .chunk import Chunk
from .chunk_member import ChunkMember
from .chunk_queue import ChunkQueue
from .dispatcher import Dispatcher
from .job_type import JobType
from .tenant_chunk_queue import TenantChunkQueue
from .worker_environment import WorkerEnvironment

# Seconds between two checks whether the queue is paused, while a chunk waits for more jobs.
_PAUSE_PERIOD = 0.02
# The most jobs of one type whose check-ins and progress a pool shows, because its heartbeat has an id for each.
_MOST_SHOWN = 100


class ChunkRunner:
    """The chunks of one type in one pool.

    :param make_dispatcher: makes the dispatcher, given the queue of its ready jobs and what returns its running jobs.
    :param make_environment: makes what its jobs need, given the dispatcher.
    :param most_calls: returns how many calls may run at once.
    :param overdue_in: seconds after which a job that was to end is overdue.
    :ivar members: the jobs of the chunks that have begun and not ended.
    :ivar worker_ids: the ids under which is shown what they do.
    """

    def __init__(
        self,
        queue: Queue,
        job_type: JobType,
        *,
        make_dispatcher: Callable[[ChunkQueue, Callable[[], Iterable[tuple[Queue, bytes]]], asyncio.Event], Dispatcher],
        make_environment: Callable[[Dispatcher], WorkerEnvironment],
        most_calls: Callable[[], int],
        overdue_in: float,
    ) -> None:
        assert job_type.chunked is not None
        self.queue = queue
        self.members: dict[ChunkMember, None] = {}
        self.possible_loss = asyncio.Event()
        self._job_type, self._chunked = job_type, job_type.chunked
        self._most_calls = most_calls
        self._overdue_in = overdue_in
        self._variables = copy_context()
        self._ready = self._make_queue()
        self.dispatcher = make_dispatcher(self._ready, self._running, self.possible_loss)
        if isinstance(self._ready, TenantChunkQueue):
            self.dispatcher.fetcher.state.open.collecting = self._ready.collecting
        self._env = make_environment(self.dispatcher)
        self.worker_ids: list[str] = []
        self._free_ids: list[str] = []
        self._calls: set[asyncio.Task[None]] = set()
        self._chunks: set[Chunk] = set()
        # Jobs that have been taken out of a chunk, to have a call for themselves each.
        self._waiting: list[ChunkMember] = []
        self._pause_timer: asyncio.TimerHandle | None = None
        self._is_stopped = False
        self._loop = asyncio.get_running_loop()
        self._is_resizing = False

    def _make_queue(self) -> ChunkQueue:
        size, wait, begin, watch = self._chunked.size, self._chunked.wait, self._begin, self._watch_for_pause
        if self._job_type.options.partition is None:
            return ChunkQueue(size, wait, self._may_begin, begin, watch)
        return TenantChunkQueue(size, wait, self._free_calls, begin, watch, self._on_collected)

    def _running(self) -> list[tuple[Queue, bytes]]:
        return [
            (each.queue, each.payload) for each in self.members if each.queue is not None and each.payload is not None
        ]

    def stop(self) -> None:
        """Take nothing more, and requeue what has not begun."""
        self.dispatcher.fetcher.stop()
        self._requeue_waiting()

    def cut_off(self) -> list[asyncio.Task[None]]:
        """Cancel the calls that run, because the pool ends; return their tasks.

        A call can go on after all of its jobs have ended, because their middlewares did not wait for it.
        """
        return [task for each in self._chunks if (task := each.cut_off()) is not None]

    def close(self) -> None:
        """Begin nothing more."""
        self._is_stopped = True
        self._ready.close()
        if self._pause_timer is not None:
            self._pause_timer.cancel()

    def resize(self) -> None:
        """Take as many jobs as the chunks that have begun have, and those of another if a call is free for it."""
        self.dispatcher.fetcher.resize(len(self.members) + self._ready.room(self._free_calls()))

    def _free_calls(self) -> int:
        return 0 if self._is_stopped else self._most_calls() - len(self._calls)

    def _may_begin(self) -> bool:
        return self._free_calls() > 0

    def _on_collected(self) -> None:
        """Take other jobs now that some of a tenant were collected: maybe only those that complete its chunk."""
        self.resize()
        if not self._is_stopped:
            self.dispatcher.fetcher.keep_to_chunks()

    # A chunk

    def _begin(self, jobs: Sequence[HeldJob]) -> None:
        lease = self.dispatcher.lease
        if self._env.clock() > lease.expires or lease.reaped:
            # They come back when they are claimed.
            self._ready.jobs.extendleft(reversed(jobs[1:]))
            self.dispatcher.hold_back(jobs[0])
            return
        members = [ChunkMember(self._env, self._overdue_in, held, self._take_id()) for held in jobs]
        self.members |= dict.fromkeys(members)
        for each in members:
            if not each.decode():
                self._on_ended(each)
        members = [each for each in members if not each.has_ended]
        task = self._loop.create_task(
            self._run(members), name=f"asyncwork chunks of {self.queue.name}", context=self._variables.copy()
        )
        self._calls.add(task)
        self.resize()

    async def _run(self, members: Sequence[ChunkMember]) -> None:
        """Run jobs together, and then those that need a call for themselves."""
        task = asyncio.current_task()
        assert task is not None
        try:
            if together := [each for each in members if not each.runs_alone]:
                await self._run_chunk(together)
            alone = [each for each in members if each.runs_alone and not each.has_ended]
            self._waiting += alone
            if self.dispatcher.fetcher.state.quiet:
                self._requeue_waiting()
            for each in alone:
                if each in self._waiting:
                    self._waiting.remove(each)
                    await self._run_chunk([each])
        except Exception as defect:
            self._env.on_defect(defect)
        finally:
            self._calls.discard(task)
        # Not if this was cancelled, as all tasks are at the end of their event loop.
        if not self._is_stopped:
            self.resize()
            self._ready.begin_some()
            if self.dispatcher.fetcher.state.open.collecting is not None:
                # The pool had no call for some tenants, whose jobs still wait in Redis.
                self.dispatcher.fetcher.state.open.search()
                self.resize()

    async def _run_chunk(self, members: Sequence[ChunkMember]) -> None:
        chunk = Chunk(
            members,
            self._chunked,
            self._job_type.options,
            variables=self._variables,
            context=self._env.context,
            on_called=self._job_type.metrics.record_chunk,
            on_ended=self._on_ended,
        )
        self._chunks.add(chunk)
        try:
            await chunk.run()
        finally:
            self._chunks.discard(chunk)

    def _on_ended(self, member: ChunkMember) -> None:
        if self.members.pop(member, member) is member:
            return
        if member.id:
            self._free_ids.append(member.id)
        # Once for all that end in this step.
        if not self._is_resizing:
            self._is_resizing = True
            self._loop.call_soon(self._resize_soon)

    def _resize_soon(self) -> None:
        self._is_resizing = False
        self.resize()

    def _take_id(self) -> str:
        if self._free_ids:
            return self._free_ids.pop()
        if len(self.worker_ids) >= _MOST_SHOWN:
            return ""
        # Made when first needed, so that a pool without chunks to run has a short heartbeat.
        self.worker_ids.append(make_identifier())
        return self.worker_ids[-1]

    def _requeue_waiting(self) -> None:
        """Requeue the jobs that wait for a call for themselves."""
        waiting, self._waiting = self._waiting, []
        held = [each.held for each in waiting]
        for each in waiting:
            each.payload = None
            self.members.pop(each, None)
        if held:
            self.dispatcher.fetcher.requeue_unbegun(held)

    # Pauses

    def _watch_for_pause(self) -> None:
        """Check whether the queue is paused as long as jobs wait for more.

        Otherwise that is noticed when Redis returns jobs, and here none may come.
        """
        if self._pause_timer is None and self._chunked.wait > _PAUSE_PERIOD:
            self._pause_timer = self._loop.call_later(_PAUSE_PERIOD, self._check_pause)

    def _check_pause(self) -> None:
        if self._ready.jobs and not self._is_stopped:
            self.dispatcher.submit(ReadPaused(self.queue, []), self._on_pause_read)
        else:
            self._pause_timer = None

    def _on_pause_read(self, is_paused: int) -> None:
        self._pause_timer = None
        if is_paused and (jobs := list(self._ready.jobs)):
            self._ready.jobs.clear()
            self.dispatcher.fetcher.requeue_unbegun(jobs)
            self.resize()
        elif self._ready.jobs:
            self._watch_for_pause()

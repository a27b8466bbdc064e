"""Waits for the ends of jobs and of batches: one subscription for all waits of an event loop, and no polling.

A wait registers the channel of this event loop in the record of its job. The script that ends the job writes the record
and publishes the job's id to the channels that it finds there, in one step. As both scripts run one after the other in
Redis, no end can be missed between reading and waiting. A message may be lost when the connection breaks, so all
records are read again after each new subscription, and every few seconds. A batch has no record: the channel is in the
hash of the batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from .._jobs.ids import make_identifier
from ..errors import UsageError
from . import scripts
from .errors import REDIS_ERRORS, ErrorReply, ScriptMissing, is_lasting, is_temporary
from .job_record import NOT_KEPT, Record, not_kept, nowhere, read_record, record_of_dead
from .job_search import FoundJob, JobSearch
from .multiplexer import Multiplexer
from .namespace import Namespace
from .protocol import encode, pack, value_of
from .slices import slices
from .subscription import Subscription
from .wait_outage import POLL, WaitOutage

# Seconds after which all records are read again, in case a message was lost, and after which Redis forgets a wait.
_READ_AGAIN, _FORGOTTEN = 5.0, 60
# Records that one script reads.
_SLICE = 500
# Seconds for which the subscription outlives the last wait, as the next one may come soon.
_LINGER = 5.0
# Seconds until the next try while Redis is away, at first and at most.
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 2.0


class _Wait:
    """The waits for one job, or one batch.

    :ivar name: the job's name, to check that its results are kept; empty if that is known.
    :ivar is_batch: whether it is a batch.
    :ivar unknown: whether the job may not exist. It is searched for if its record does not say how it has ended.
    """

    __slots__ = ("futures", "is_batch", "job_id", "name", "unknown")

    def __init__(self, job_id: str, name: str, *, is_batch: bool = False) -> None:
        self.job_id = job_id
        self.is_batch = is_batch
        self.name = name
        self.unknown = False
        self.futures: set[asyncio.Future[Record]] = set()


class JobWaits:
    """The waits of one event loop.

    :ivar search: searches for jobs whose records do not say how they have ended.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._connection = Multiplexer(namespace.redis)
        self._keys = namespace.keys
        self.search = JobSearch(namespace)
        self._loop = asyncio.get_running_loop()
        self._channel = namespace.keys.ended_channel(make_identifier())
        self._waits: dict[str, _Wait] = {}
        self._wait_of: dict[asyncio.Future[Record], _Wait] = {}
        self._listening: asyncio.Task[None] | None = None
        self._subscribed = asyncio.Event()
        self._outage = WaitOutage()
        # In the order in which they have ended, as far as that is known.
        self._to_read: dict[str, None] = {}
        self._reading: asyncio.Task[None] | None = None
        self._to_search: dict[str, None] = {}
        self._searching: asyncio.Task[None] | None = None

    async def wait(self, job_id: str, name: str, *, search: bool = False) -> Record:
        """Wait until a job has ended; return its record.

        While Redis is away, it goes on waiting.

        :param name: the job's name, to check that its results are kept; empty if that is known.
        :param search: whether the job may not exist. It is then searched for, if its record does not say how it has
            ended. Many that are waited for at the same time are searched for together.
        :raises ResultLost: when there is no such job.
        :raises UsageError: when no results of that name are kept.
        :raises RedisError, OSError: when Redis refuses the user or the password; or, if the job is searched for, cannot
            be reached before that is done.
        """
        return await self._wait_for(job_id, name, search=search)

    async def wait_for_batch(self, batch_id: str) -> None:
        """Wait until a batch has ended, or is not kept any more. While Redis is away, it goes on waiting.

        :raises RedisError, OSError: when Redis refuses the user or the password.
        """
        if batch_id not in self._waits:
            self._waits[batch_id] = _Wait(batch_id, "", is_batch=True)
        await self._wait_for(batch_id, "")

    async def _wait_for(self, wait_id: str, name: str, *, search: bool = False) -> Record:
        future: asyncio.Future[Record] = self._loop.create_future()
        self._add(wait_id, name, [future], unknown=search)
        try:
            if self._listening is None or self._listening.done():
                self._listening = self._loop.create_task(self._listen(), name="asyncwork waiting for jobs")
            if self._subscribed.is_set():
                self._read([wait_id])
            return await future
        finally:
            wait = self._wait_of.pop(future)
            wait.futures.discard(future)
            if not wait.futures and self._waits.get(wait.job_id) is wait:
                del self._waits[wait.job_id]

    def _add(self, job_id: str, name: str, futures: Iterable[asyncio.Future[Record]], *, unknown: bool = False) -> None:
        wait = self._waits.get(job_id)
        if wait is None:
            wait = self._waits[job_id] = _Wait(job_id, name)
        wait.unknown = wait.unknown or unknown
        for future in futures:
            wait.futures.add(future)
            self._wait_of[future] = wait

    async def close(self) -> None:
        """End all waits."""
        tasks = [each for each in (self._listening, self._reading, self._searching) if each is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self.search.close()
        await self._connection.close()
        for future, wait in self._wait_of.items():
            _resolve(future, UsageError(f"the connections were closed while job {wait.job_id} was waited for"))

    def abandon(self) -> None:
        """Forget the waits of an event loop that was closed."""
        self._waits.clear()
        self._connection.abandon()

    # Listening

    async def _listen(self) -> None:
        # A wait that begins while the connection closes starts no task of its own, because this one has not ended.
        while self._waits:
            try:
                await self._listen_while_needed()
            finally:
                await self._connection.close()

    async def _listen_while_needed(self) -> None:
        delay = _FIRST_DELAY
        self._outage.forget()
        while self._waits:
            try:
                subscription = await self._subscribe()
                delay = _FIRST_DELAY
                await self._receive(subscription)
            except REDIS_ERRORS as error:
                self._on_error(error, list(self._waits))
                await asyncio.sleep(delay)
                delay = min(2 * delay, _LONGEST_DELAY)

    def _on_error(self, error: Exception, job_ids: Iterable[str]) -> None:
        """End the waits for some jobs if Redis refuses the user or the password, and for those that may not exist;
        log that the others go on when Redis is back.
        """
        lasting = is_lasting(error)
        for job_id in job_ids:
            if lasting or ((wait := self._waits.get(job_id)) is not None and wait.unknown):
                self._end(job_id, error)
        if self._waits and not lasting:
            self._outage.begin(error)

    async def _subscribe(self) -> Subscription | None:
        """Subscribe to the channel of this event loop; ``None`` if the user may not."""
        if self._outage.was_refused:
            return None
        try:
            return await self._redis.subscribe(self._channel)
        except ErrorReply as error:
            if is_temporary(error):
                raise
            self._outage.refuse_channel(error)
            return None

    async def _receive(self, subscription: Subscription | None) -> None:
        """Read the records of the jobs that messages name, and all of them from time to time, until no wait is left."""
        period = POLL if subscription is None else _READ_AGAIN
        last_wait = self._loop.time()
        read_at = last_wait
        self._subscribed.set()
        try:
            while True:
                now = self._loop.time()
                if now >= read_at:
                    self._read(self._waits)
                    read_at = now + period
                if self._waits:
                    last_wait = now
                elif now - last_wait >= _LINGER:
                    return
                if subscription is None:
                    await asyncio.sleep(period)
                else:
                    messages = await subscription.wait(read_at - now)
                    self._read(each.decode(errors="surrogateescape") for each in messages)
        finally:
            self._subscribed.clear()
            if subscription is not None:
                await subscription.close()

    # Reading records

    def _read(self, job_ids: Iterable[str]) -> None:
        """Read the records of some jobs soon, many at once."""
        self._to_read.update((each, None) for each in job_ids if each in self._waits)
        if self._to_read and (self._reading is None or self._reading.done()):
            self._reading = self._loop.create_task(self._read_all(), name="asyncwork reading records")

    async def _read_all(self) -> None:
        while self._to_read:
            some = list(islice(self._to_read, _SLICE))
            for each in some:
                del self._to_read[each]
            try:
                await self._read_batches([each for each in some if each in self._waits and self._waits[each].is_batch])
                # Without waits that have ended meanwhile.
                some = [each for each in some if each in self._waits and not self._waits[each].is_batch]
                replies = await self._request(some) if some else []
            except REDIS_ERRORS as error:
                # All of them are read again from time to time, and when the listener has subscribed again.
                self._on_error(error, some)
                return
            for job_id, reply in zip(some, replies, strict=True):
                self._on_reply(job_id, reply)
        if self._to_search and (self._searching is None or self._searching.done()):
            self._searching = self._loop.create_task(
                self._search_all(), name="asyncwork searching for jobs to wait for"
            )

    async def _read_batches(self, batch_ids: Sequence[str]) -> None:
        """End the waits for those of some batches that have ended."""
        if not batch_ids:
            return
        keys = [self._keys.batch(each)[0] for each in batch_ids]
        replies = await self._script("watch_batches", keys, [encode(self._channel)])
        for batch_id, has_ended in zip(batch_ids, replies, strict=True):
            if has_ended:
                self._end(batch_id, {})

    async def _request(self, job_ids: Sequence[str]) -> list[Any]:
        keys = [self._keys.results, *map(self._keys.job_record, job_ids)]
        names = [self._waits[each].name if each in self._waits else "" for each in job_ids]
        args = [encode(self._channel), b"%d" % _FORGOTTEN, *map(encode, names)]
        return await self._script("watch_jobs", keys, args)

    async def _script(self, script: str, keys: Sequence[str], args: Sequence[bytes]) -> list[Any]:
        packed = pack(*map(encode, keys))
        (reply,) = await self._connection.send([scripts.call(script, len(keys), packed, args)])
        if isinstance(reply, ScriptMissing):
            (reply,) = await self._connection.send([scripts.call(script, len(keys), packed, args, with_source=True)])
        replies: list[Any] = value_of(reply)
        self._outage.end()
        return replies

    def _on_reply(self, job_id: str, reply: Any) -> None:
        wait = self._waits.get(job_id)
        if wait is None:
            return
        if reply == 0:
            if wait.unknown:
                self._to_search[job_id] = None
            return
        if reply == NOT_KEPT:
            self._end(job_id, not_kept(wait.name))
            return
        record = read_record(reply)
        if b"state" not in record:
            # A newer job with the same unique key ran in its place.
            other = record[b"alias"].decode(errors="surrogateescape")
            # If it is itself, no program of ours has written that. It may be written anew.
            if other != job_id:
                del self._waits[job_id]
                self._add(other, "", wait.futures, unknown=wait.unknown)
                self._read([other])
            return
        self._end(job_id, record)

    def _end(self, job_id: str, result: Record | Exception) -> None:
        """End the wait for a job, if there is one."""
        if (wait := self._waits.pop(job_id, None)) is not None:
            for future in wait.futures:
                _resolve(future, result)

    # Searching for jobs that may not exist

    async def _search_all(self) -> None:
        while self._to_search:
            job_ids = list(self._to_search)
            self._to_search.clear()
            try:
                found = await self.search.find(job_ids)
                for some in slices(job_ids, _SLICE):
                    await self._on_found(some, found)
            except REDIS_ERRORS as error:
                self._on_error(error, job_ids)

    async def _on_found(self, job_ids: Sequence[str], found: Mapping[str, FoundJob]) -> None:
        """End the waits for those of some jobs that are nowhere, or dead without a record. Their records are read once
        more, because they may have ended while they were searched for.
        """
        for job_id in job_ids:
            if (wait := self._waits.get(job_id)) is not None and job_id in found and not found[job_id].is_dead:
                wait.name, wait.unknown = found[job_id].job.name, False
        for job_id, reply in zip(job_ids, await self._request(job_ids), strict=True):
            # Its record may have been read from time to time meanwhile.
            self._to_search.pop(job_id, None)
            if reply != 0:
                self._on_reply(job_id, reply)
            elif job_id not in found:
                self._end(job_id, nowhere(job_id))
            elif found[job_id].is_dead:
                self._end(job_id, record_of_dead(found[job_id].job))


def _resolve(future: asyncio.Future[Record], result: Record | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)

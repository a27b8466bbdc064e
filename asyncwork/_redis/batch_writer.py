"""Writes batches and their members, in round trips without a connection.

The members of one write are sent as one transaction, so that a member is counted exactly if it is on its way. Its
number is known before. So a member can have all options that a job can be enqueued with, and its payload is like any
other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from .._jobs.batch_options import BatchOptions, check_members
from .._jobs.membership import SETTLE_NAME, Member, member_id
from .._jobs.payload import encode_job
from ..errors import BatchEndedError
from . import scripts
from .batch_replies import count_missing, ended_error
from .batch_source import BatchSource
from .cancels import MARKS_TTL, CancelMark
from .discovery import is_moved
from .enqueue_steps import FAIR_LOADS, LOADS, Request, Steps
from .errors import ErrorReply, ScriptMissing
from .limited_push import Write
from .member_calls import shared_keys
from .new_jobs import NewJobs
from .protocol import command, encode, pack

# Members that wait to be written together, and their bytes.
MOST_MEMBERS = 1000
MOST_BYTES = 1_000_000
# Seconds for which a batch is kept after its last change; in the scripts, too.
BATCH_TTL = 30 * 86_400
# Seconds after which a batch is left out of the list, even if it is still kept.
_LISTED_FOR = 90 * 86_400


class BatchWriter:
    """One batch, as one program writes it.

    :param options: what it is created with; ``None`` if it exists.
    :ivar created: whether it is in Redis.
    :ivar lacks_members: whether a write of members has not come to its end, so that some may be missing.
    :ivar parent: the member of another batch that it is.
    """

    def __init__(
        self,
        source: BatchSource,
        batch_id: str,
        options: BatchOptions | None,
    ) -> None:
        self.batch_id: str = batch_id
        self.created: bool = options is None
        self.lacks_members: bool = False
        self._source = source
        self._keys, self._masked_url = source.keys, source.masked_url
        self._options = options
        # Whether it was sent to Redis, maybe without a reply; and any members of it.
        self._was_sent = self._sent_members = False
        self.parent: Member | None = None
        # The members that wait to be written; the number of the next, and the first number that is not reserved.
        self._new = NewJobs(self._keys, source.now)
        self._next = 0
        self._reserved = MOST_MEMBERS if options is not None else 0

    @property
    def room(self) -> int:
        """How many members can be added before the others must be written; 0 if numbers must be reserved first."""
        return min(MOST_MEMBERS - len(self._new.jobs), self._reserved - self._next)

    @property
    def is_full(self) -> bool:
        """Whether the members that were added must be written before the next."""
        return len(self._new.jobs) >= MOST_MEMBERS or self._new.size() >= MOST_BYTES

    @property
    def waiting(self) -> int:
        """How many members wait to be written."""
        return len(self._new.jobs)

    def add(self, jobs: Sequence[object], first: int = 0) -> None:
        """Have jobs written with the next members, as many as there is room for.

        :param first: the position of the first of them, for messages.
        :raises UsageError, ArgumentEncodingError: when one is not valid; then none of them is added.
        """
        check_members(jobs, first)
        if not self._new.jobs:
            # The members are enqueued now, however long ago the batch was begun.
            self._new = NewJobs(self._keys, self._source.now)
        count = len(self._new.jobs)
        try:
            self._new.add_all(jobs, self._ids(), first=first)
        except BaseException:
            self._new.truncate(count)
            raise
        self._next += len(self._new.jobs) - count

    def _ids(self) -> Iterator[str]:
        return (member_id(self.batch_id, index) for index in range(self._next, self._reserved))

    def reserve(self, count: int = MOST_MEMBERS) -> Steps[int]:
        """Reserve numbers for members that are to be added; return the first.

        :raises BatchEndedError: when the batch takes no more members.
        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        keys = pack(*map(encode, self._keys.batch(self.batch_id)))
        first = yield from self._script("reserve_members", 5, keys, [b"%d" % count])
        if (ended := ended_error(self.batch_id, first)) is not None:
            raise ended
        self._next, self._reserved = first, first + count
        return int(first)

    def write(self, *, close: bool) -> Steps[None]:
        """Write the members that wait, and the batch if it is not in Redis yet.

        :param close: whether no more members come. Then the batch may end.
        :raises BatchEndedError: when it was cancelled, or is not kept any more. Members of a cancelled one are
            cancelled as well.
        :raises EnqueueManyError, RedisError, OSError: when Redis refuses or cannot be reached.
        """
        new, self._new = self._new, NewJobs(self._keys, self._source.now)
        self.lacks_members = True
        all_positions = list(new.round_trips()) or [range(0)]
        at_once = close and not self._sent_members and len(all_positions) == 1 and bool(new.jobs)
        if at_once:
            at_once = not any(each.unique or each.limited for each in new.writes(all_positions[0]))
        missing, failure, ended = 0, None, None
        with new.traced(self._source.tracing, self._source.namespace):
            for positions in all_positions:
                refused = yield from self._write_some(new, positions, is_open=not at_once)
                missing += refused[0]
                failure = failure or refused[1]
                if (ended := refused[2]) is not None:
                    break
        if missing or (close and not at_once):
            yield from self._close(missing, close=close and failure is None)
        if failure is not None:
            raise failure
        self.lacks_members = False
        if ended is not None:
            raise ended

    def _write_some(
        self, new: NewJobs, positions: range, *, is_open: bool
    ) -> Steps[tuple[int, Exception | None, BatchEndedError | None]]:
        """Write some members in one transaction; return how many were not written, and why if Redis refused them, and
        the error if the batch takes none.
        """
        writes, names = new.writes(positions) if positions else [], new.names(positions)
        counts, existed = self._counts(len(positions)), self.created
        before = [*self._creation(names, is_open=is_open), *counts]
        if existed and not is_open:
            # It was created without members, as a member of another batch is.
            before.insert(0, command(b"HDEL", encode(self._keys.batch(self.batch_id)[0]), b"open"))
        self._sent_members = self._sent_members or bool(positions)
        replies, answered = yield from self._write_together(new, names, before, writes)
        ended = ended_error(self.batch_id, replies[-1]) if existed and counts else None
        return *count_missing(new, answered, self._masked_url), ended

    def _write_together(
        self, new: NewJobs, names: list[str], before: Sequence[bytes], writes: Sequence[Write]
    ) -> Steps[tuple[Sequence[Any], list[tuple[Write, Any]]]]:
        """Send commands and then those that write jobs in one transaction; return the replies to the former, and the
        latter, each with its reply.
        """
        self._was_sent = True
        replies = yield from self._in_transaction(Request(names, [*before, *(each.command for each in writes)]))
        counted = replies[: len(before)]
        if (failed := next((each for each in counted if isinstance(each, Exception)), None)) is not None:
            raise failed
        self.created = True
        answered = list(zip(writes, replies[len(before) :], strict=True))
        again = [write for write, reply in answered if isinstance(reply, ScriptMissing)]
        if again:
            answered = [each for each in answered if not isinstance(each[1], ScriptMissing)]
            needed = (*LOADS, *FAIR_LOADS) if new.has_tenants else LOADS
            loads = [scripts.load_command(name) for name in needed]
            replies = yield Request(names, [*loads, *(each.command for each in again)])
            answered += zip(again, replies[len(loads) :], strict=True)
        return counted, answered

    def _creation(self, names: list[str], *, is_open: bool) -> list[bytes]:
        """Return the commands that create the batch, unless it is there; add the names of its callbacks."""
        if self.created or self._options is None:
            return []
        names += (name for name, _ in self._options.callbacks.values())
        batch, now = self._keys.batch(self.batch_id)[0], b"%d" % self._source.now
        listed, opened, raw_id = encode(self._keys.batches), encode(self._keys.open_batches), self.batch_id.encode()
        return [
            command(b"HSET", encode(batch), *self._fields(self._options, is_open=is_open)),
            command(b"EXPIRE", encode(batch), b"%d" % BATCH_TTL),
            command(b"ZADD", listed, now, raw_id),
            command(b"ZADD", opened, now, raw_id),
            command(b"ZREMRANGEBYSCORE", listed, b"-inf", b"%d" % (self._source.now - _LISTED_FOR)),
        ]

    def _fields(self, options: BatchOptions, *, is_open: bool) -> list[bytes]:
        """Return the fields of a new batch, and their values, in turn."""
        fields = [b"name", encode(options.name), b"tags", options.encoded_tags, b"created_at", b"%d" % self._source.now]
        for counter in (b"total", b"left", b"failed", b"cancelled"):
            fields += (counter, b"0")
        fields += (b"next", b"%d" % self._reserved)
        if is_open:
            fields += (b"open", b"1")
        for callback, (_, payload) in options.callbacks.items():
            fields += (f"on_{callback.value}".encode(), payload)
        if self.parent is not None:
            fields += (b"parent", self._settlement(self.parent))
        return fields

    def _settlement(self, parent: Member) -> bytes:
        """Return the entry in the scheduled set by which this batch settles its member of another one."""
        _, payload = encode_job(SETTLE_NAME, {"batch": self.batch_id}, self._source.now, job_id=parent.job_id)
        return payload

    def _counts(self, count: int) -> list[bytes]:
        """Return the commands that count members which are written in the same transaction."""
        if not count:
            return []
        keys = self._keys
        batch = keys.batch(self.batch_id)
        if not self.created:
            return [command(b"HINCRBY", encode(batch[0]), each, b"%d" % count) for each in (b"total", b"left")]
        # It may have been cancelled, and have ended, since it was created.
        names = pack(*map(encode, [keys.cancels, keys.open_batches, keys.unique_flows, *batch]))
        args = [b"%d" % each for each in (count, MARKS_TTL, BATCH_TTL)]
        return [scripts.call("count_members", 8, names, args, with_source=True)]

    def add_batch(self, child: BatchWriter) -> Steps[None]:
        """Add a member that is another batch, whose end settles it. The members that wait are written before.

        The other batch is created in the same transaction: without it, nothing would settle the member if this program
        died before it writes the members of that.

        :param child: writes the other batch, which is new.

        :raises BatchEndedError: when this batch takes no more members.
        :raises EnqueueManyError, RedisError, OSError: when Redis refuses or cannot be reached.
        """
        if self.waiting or not self.created:
            yield from self.write(close=False)
        if self._next == self._reserved:
            yield from self.reserve(MOST_MEMBERS if self._options is not None else 1)
        child.parent = Member(self.batch_id, self._next)
        self._next += 1
        names: list[str] = []
        creation = child._creation(names, is_open=True)
        child._was_sent = True
        replies = yield from self._in_transaction(Request(names, [*creation, *self._counts(1)]))
        if (failed := next((each for each in replies if isinstance(each, Exception)), None)) is not None:
            raise failed
        child.created = True
        if (ended := ended_error(self.batch_id, replies[-1])) is not None:
            raise ended

    def add_all(self, jobs: Iterator[object], first: int = 0) -> Steps[None]:
        """Have jobs written with the next members, and write those for which there is no more room.

        :param first: the position of the first of them, for messages.
        :raises UsageError, ArgumentEncodingError: when one is not valid. Those before it are added, by the thousand.
        :raises BatchEndedError: when the batch takes no more members.
        :raises EnqueueManyError, RedisError, OSError: when Redis refuses or cannot be reached.
        """
        for job in jobs:
            if self.is_full:
                yield from self.write(close=False)
            if self._next == self._reserved:
                if self.waiting:
                    yield from self.write(close=False)
                if self._options is None:
                    # No more than are used, because each number takes a bit, and any number of jobs may add some.
                    some = [job, *islice(jobs, MOST_MEMBERS - 1)]
                    yield from self.reserve(len(some))
                    self.add(some, first)
                    first += len(some)
                    continue
                yield from self.reserve()
            some = [job, *islice(jobs, self.room - 1)]
            self.add(some, first)
            first += len(some)

    def _close(self, missing: int, *, close: bool) -> Steps[None]:
        keys = pack(*map(encode, [*shared_keys(self._keys), *self._keys.batch(self.batch_id)]))
        yield from self._script("close_batch", 9, keys, [b"%d" % missing, b"%d" % close])

    def abandon(self, reason: str) -> Steps[None]:
        """Cancel the members that were written and have not ended, and write no more. Does nothing to a batch that is
        not in Redis.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        self._new = NewJobs(self._keys, self._source.now)
        if not self.created and self._was_sent:
            # Redis may have created it although there was no reply.
            (found,) = yield Request([], [command(b"HEXISTS", encode(self._keys.batch(self.batch_id)[0]), b"next")])
            self.created = found == 1
        if not self.created:
            return
        keys = pack(encode(self._keys.cancels), encode(self._keys.batch(self.batch_id)[0]))
        args = [b"%d" % MARKS_TTL, self.batch_id.encode(), CancelMark.new(reason, "").encode()]
        yield from self._script("cancel_batch", 2, keys, args)
        # The user may not be allowed to publish. The pools read the marks with each heartbeat all the same.
        yield Request([], [command(b"PUBLISH", encode(self._keys.wake_channel()), b"")])
        yield from self._close(0, close=True)

    def _script(self, name: str, count: int, keys: bytes, args: Sequence[bytes]) -> Steps[Any]:
        (reply,) = yield Request([], [scripts.call(name, count, keys, args)])
        if isinstance(reply, ScriptMissing):
            (reply,) = yield Request([], [scripts.call(name, count, keys, args, with_source=True)])
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _in_transaction(self, request: Request) -> Steps[list[Any]]:
        """Send commands in a transaction; return their replies, with errors in their places.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        names, commands = request
        for is_last in (False, True):
            replies = yield Request(names, [command(b"MULTI"), *commands, command(b"EXEC")])
            executed = replies[-1]
            if isinstance(executed, list):
                return executed
            moved = next((each for each in replies if is_moved(each)), None)
            if moved is None or is_last:
                break
            # Nothing was executed, and a command outside a transaction has the address of Redis found anew.
            yield Request([], [command(b"EXISTS", encode(self._keys.batch(self.batch_id)[0]))])
        failed = next((each for each in replies if isinstance(each, Exception)), executed)
        raise (
            failed if isinstance(failed, Exception) else ErrorReply(f"Redis has not executed a transaction: {failed!r}")
        )

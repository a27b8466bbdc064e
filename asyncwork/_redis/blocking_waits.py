"""Waits for the end of a job, in a thread without an event loop: on a connection of its own, without polling."""

from __future__ import annotations

import time

from .._jobs.ids import make_identifier
from ..errors import ResultTimeout
from . import scripts
from .blocking_client import BlockingClient, SyncConnection
from .errors import REDIS_ERRORS, ErrorReply, ScriptMissing, is_lasting, is_temporary
from .job_record import MOST_ALIASES, NOT_KEPT, Record, checked_id, not_ended, not_kept, read_record
from .keys import Keys
from .protocol import command, encode, pack, value_of
from .wait_outage import POLL, WaitOutage

# Seconds after which the record is read again, in case a message was lost, and after which Redis forgets the wait.
_READ_AGAIN, _FORGOTTEN = 5.0, 60
# Seconds until the next try while Redis is away.
_DELAY = 0.5


class BlockingWait:
    """The wait of one thread for one job.

    :param name: the job's name, to check that its results are kept; empty if that is known.
    :param seconds: how long to wait; ``None`` for as long as it takes.
    :param outage: logs that Redis is away.
    """

    def __init__(
        self, redis: BlockingClient, keys: Keys, job_id: str, name: str, seconds: float | None, outage: WaitOutage
    ) -> None:
        self._redis = redis
        self._outage = outage
        self._keys = keys
        self._job_id = checked_id(job_id)
        self._name = name
        self._seconds = seconds
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._channel = encode(keys.ended_channel(make_identifier()))

    def run(self) -> Record:
        """Wait until the job has ended; return its record. While Redis is away, it goes on waiting.

        :raises ResultTimeout: when it has not ended in time.
        :raises UsageError: when no results of its name are kept.
        :raises RedisError, OSError: when Redis refuses the user or the password.
        """
        while True:
            try:
                return self._wait()
            except REDIS_ERRORS as error:
                # A ResultTimeout is an OSError, too.
                if isinstance(error, ResultTimeout) or is_lasting(error):
                    raise
                self._outage.begin(error)
                time.sleep(min(_DELAY, self._left()))

    def _left(self) -> float:
        """Return for how long to wait at most until the record is read again, seconds.

        :raises ResultTimeout: when time is up.
        """
        if self._deadline is None:
            return _READ_AGAIN
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise not_ended(self._job_id, self._name, self._seconds)
        return min(left, _READ_AGAIN)

    def _wait(self) -> Record:
        connection = self._redis.open()
        try:
            may_subscribe = self._subscribe(connection)
            while True:
                if (record := self._read()) is not None:
                    return record
                if may_subscribe:
                    connection.read_message(self._left())
                else:
                    time.sleep(min(POLL, self._left()))
        finally:
            connection.close()

    def _subscribe(self, connection: SyncConnection) -> bool:
        """Subscribe to the channel of this wait; return whether the user may."""
        (reply,) = connection.send([command(b"SUBSCRIBE", self._channel)])
        if isinstance(reply, ErrorReply) and not is_temporary(reply):
            self._outage.refuse_channel(reply)
            return False
        value_of(reply)
        return True

    def _read(self) -> Record | None:
        """Return the record of the job if it has ended; otherwise have this thread woken when it does."""
        for _ in range(MOST_ALIASES):
            record = self._watch()
            if record is None or b"state" in record:
                return record
            # A newer job with the same unique key runs in its place.
            self._job_id, self._name = record[b"alias"].decode(errors="surrogateescape"), ""
        return None

    def _watch(self) -> Record | None:
        """Return the record of the job if it has ended, or says which job runs in its place."""
        keys = pack(encode(self._keys.results), encode(self._keys.job_record(self._job_id)))
        args = [self._channel, b"%d" % _FORGOTTEN, encode(self._name)]
        (reply,) = self._redis.send([scripts.call("watch_jobs", 2, keys, args)])
        if isinstance(reply, ScriptMissing):
            (reply,) = self._redis.send([scripts.call("watch_jobs", 2, keys, args, with_source=True)])
        (found,) = value_of(reply)
        self._outage.end()
        if found == 0:
            return None
        if found == NOT_KEPT:
            raise not_kept(self._name)
        return read_record(found)

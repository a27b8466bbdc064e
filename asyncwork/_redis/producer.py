"""Where jobs come in: what the enqueuer says to Redis."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from ..models import EnqueuedJob
from . import scripts, unique_value
from .errors import RedisError, ScriptMissing
from .multiplexer import Multiplexer
from .namespace import Namespace
from .per_loop import PerLoop
from .protocol import command, encode, pack

# Seconds. A name is told to Redis again after this, should Redis have lost it with its data; gocraft/work's 300 are
# long for that.
_KNOWN_FOR = 5
UNIQUE_TTL = 86_400


class Producer:
    """The queues of a namespace, from the side of those who fill them."""

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys
        self._wires = PerLoop(lambda: Multiplexer(self._redis), Multiplexer.abandon)

    async def close(self) -> None:
        """Close the connection of this event loop. What is put into Redis afterwards opens a new one."""
        if (wire := self._wires.pop()) is not None:
            await wire.close()

    async def _write(self, names: Iterable[str], commands: Sequence[bytes]) -> list[Any]:
        """Return the answers to commands that put jobs of some names into Redis, having told it the names."""
        now, wire, names = time.monotonic(), self._wires.get(), list(names)
        news = [name for name in names if wire.known_until.get(name, 0) <= now]
        if news:
            return await self._tell(wire, news, commands)
        opened = wire.opened
        answers = await wire.ask(commands)
        if wire.opened != opened:
            # They went out on a new connection, maybe to a Redis that came back without its data. That the names
            # cannot be told, too, is no reason to take the jobs for not enqueued.
            with suppress(RedisError, OSError):
                await self._tell(wire, names)
        return answers

    async def _tell(self, wire: Multiplexer, names: Sequence[str], commands: Sequence[bytes] = ()) -> list[Any]:
        """Tell Redis names, and then commands; return the answers to these."""
        until = time.monotonic() + _KNOWN_FOR
        telling = command(b"SADD", encode(self._keys.known_jobs), *map(encode, names))
        told, *answers = await wire.ask([telling, *commands])
        # Whoever serves the jobs tells their names, too: that they cannot be told is no reason not to enqueue.
        if not isinstance(told, Exception):
            wire.known_until.update(dict.fromkeys(names, until))
        return answers

    async def _do(self, name: str, request: bytes) -> Any:
        (answer,) = await self._write((name,), (request,))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def push(self, name: str, payload: bytes) -> None:
        """Put a job on its queue.

        :raises RedisError, OSError: when Redis refuses or cannot be reached; after a broken connection the job may
            have been written.
        """
        await self._do(name, command(b"LPUSH", encode(self._keys.queue(name)), payload))

    async def schedule(self, name: str, payload: bytes, run_at: int) -> None:
        """Put a job among the scheduled ones, due at ``run_at`` (epoch seconds).

        :raises RedisError, OSError: as for :meth:`push`.
        """
        await self._do(name, command(b"ZADD", encode(self._keys.scheduled), b"%d" % run_at, payload))

    def unique_key(self, name: str, args: Mapping[str, Any] | None) -> str:
        """Return the key that keeps a job unique.

        :raises ArgumentsError: when Go's JSON cannot hold the arguments.
        """
        return self._keys.unique_for(name, None if args is None else dict(args))

    async def push_unique(self, job: EnqueuedJob, payload: bytes, key: str, *, by_key: bool) -> bool:
        """Put a job on its queue unless its key is held; tell whether it was.

        :param by_key: whether the key is to hold the job, to take the place of the one that waits.
        :raises RedisError, OSError: as for :meth:`push`.
        """
        held = unique_value.parts(payload, job.id, by_key=by_key)
        keys, args = [self._keys.queue(job.name), key], [payload, b"%d" % UNIQUE_TTL, *held]
        return bool(await self._run_script(job.name, "enqueue_unique", keys, args))

    async def schedule_unique(self, job: EnqueuedJob, payload: bytes, key: str, *, by_key: bool) -> bool:
        """Put a job among the scheduled ones unless its key is held; tell whether it was.

        :raises RedisError, OSError: as for :meth:`push`.
        """
        held = unique_value.parts(payload, job.id, by_key=by_key)
        args = [payload, b"%d" % UNIQUE_TTL, *held, b"%d" % job.run_at]
        return bool(await self._run_script(job.name, "enqueue_unique_at", [self._keys.scheduled, key], args))

    async def _run_script(self, name: str, script: str, keys: Sequence[str], args: Sequence[bytes]) -> Any:
        packed_keys = pack(*map(encode, keys))
        call = partial(scripts.call, script, len(keys), packed_keys, len(args), pack(*args))
        try:
            return await self._do(name, call())
        except ScriptMissing:
            return await self._do(name, call(with_text=True))

    async def push_many(self, names: Sequence[str], payloads: Sequence[bytes]) -> list[BaseException | None]:
        """Put jobs on their queues in one round trip, in their order; tell of each what went wrong, or ``None``.

        :raises RedisError, OSError: when the connection broke: each of the jobs may have been written or not.
        """
        by_name: defaultdict[str, list[bytes]] = defaultdict(list)
        for name, payload in zip(names, payloads, strict=True):
            by_name[name].append(payload)
        commands = [command(b"LPUSH", encode(self._keys.queue(name)), *of_name) for name, of_name in by_name.items()]
        answers = zip(by_name, await self._write(by_name, commands), strict=True)
        refused = {name: answer for name, answer in answers if isinstance(answer, Exception)}
        return [refused.get(name) for name in names]

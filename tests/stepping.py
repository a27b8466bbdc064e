"""A proxy that lets the commands of one process through one at a time, and has the process killed at one of them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hiredis import Reader

from asyncwork._redis import scripts
from asyncwork._redis.protocol import pack

from .conftest import LIMIT
from .proxy import Proxy

_SCRIPTS = {scripts.digest(name): name for name in (*scripts.names(), *scripts.variants())}
# Verbs that do different things, as their next word says.
_FAMILIES = frozenset({"CLIENT", "SCRIPT"})
_POPS = frozenset({"BLPOP", "BRPOPLPUSH"})
# Seconds that pops wait, however short the periods, and for how many of them a pop counts as one that waits on: what is
# to happen before it ends takes its time. Pops begin anew one by one, so all of them wait on at a time only if that is
# most of the time that each has.
_BLOCK, _FRESH = 16, 10

# Commands that change no key. In a row on one connection, such as in a pipeline, they are one step.
HARMLESS = frozenset(
    {
        *("CLIENT ID", "CLIENT UNBLOCK", "EXISTS", "HGET", "HGETALL", "HKEYS", "HMGET", "INFO", "LRANGE"),
        *(
            "PERSIST",
            "PING",
            "SCAN",
            "SCRIPT EXISTS",
            "SCRIPT LOAD",
            "SISMEMBER",
            "SMEMBERS",
            "SMISMEMBER",
            "TIME",
            "TYPE",
            "ZRANGE",
        ),
        *("ZRANGEBYSCORE", "read_due"),
    }
)


# Seconds that a command may be waited for. On an overloaded machine, a pool that counts as dead after 0.2 s claims its
# jobs again and again.
_TIMEOUT = 3 * LIMIT

# A condition on what Redis has done: the kind, the command, and the answer.
Condition = Callable[[str, Sequence[bytes], Any], bool]


class Moment(Enum):
    """When a process is killed."""

    BEFORE = "before the command reaches Redis"
    AFTER = "after Redis has done it, before the reply arrives"


@dataclass(frozen=True)
class Point:
    """Where a process is killed: at the ``nth`` command of a kind, counted from 1."""

    kind: str
    nth: int
    moment: Moment

    def __str__(self) -> str:
        return f"{self.kind} {self.nth}, {self.moment.value}"


@dataclass
class _Link:
    """One connection of the process, and ours to Redis for it."""

    from_redis: asyncio.StreamReader
    to_redis: asyncio.StreamWriter
    answers: Reader = field(default_factory=Reader)
    client_id: int = 0
    last: str = ""


class _Pop:
    """A blocking pop that waits."""

    def __init__(self) -> None:
        self.began_at = time.monotonic()
        self.over = asyncio.Event()

    @property
    def fresh(self) -> bool:
        return time.monotonic() < self.began_at + _FRESH


class _Killed(Exception):
    """Nothing is let through any more."""


class Stepper(Proxy):
    """Numbers the commands of a process by their kind: a script's name, or a verb.

    Only one is under way at a time, over all connections, blocking pops aside: they wait beside the others.

    :ivar kill: kills the process; called at the point.
    :ivar killed: whether it was.
    :ivar seen: how many commands there were of each kind.
    :ivar done: what Redis has done: the kind, the command, and the answer.
    """

    def __init__(self, server_url: str, point: Point | None = None) -> None:
        super().__init__(server_url)
        self.kill: Callable[[], None] = lambda: None
        self.killed = False
        self.seen: Counter[str] = Counter()
        self.done: list[tuple[str, Sequence[bytes], Any]] = []
        self._point = point
        self._turn = asyncio.Lock()
        # By the number of their client in Redis, the pops that wait.
        self._pops: dict[int, _Pop] = {}
        self._waiters: dict[asyncio.Future[None], Condition] = {}

    async def until_done(self, condition: Condition) -> None:
        """Wait until Redis has done a command for which a condition holds. It may have done so already."""
        if any(condition(*each) for each in self.done):
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = condition
        try:
            async with asyncio.timeout(_TIMEOUT):
                await waiter
        finally:
            del self._waiters[waiter]

    @asynccontextmanager
    async def still(self, pops: int = 0) -> AsyncIterator[None]:
        """Let nothing through while the body runs, which begins when so many blocking pops wait, or more.

        They wait for seconds still, so that what the body adds finds them.
        """
        while True:
            async with self._turn:
                if sum(pop.fresh for pop in self._pops.values()) >= pops:
                    yield
                    return
            await asyncio.sleep(0.005)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(*await self._connect())
        requests = Reader()
        try:
            while data := await reader.read(1 << 20):
                requests.feed(data)
                for commands in steps_of(iter(requests.gets, False)):
                    writer.write(await self._step(link, commands))
        except (OSError, _Killed):
            pass
        finally:
            writer.close()
            link.to_redis.close()
            await asyncio.gather(writer.wait_closed(), link.to_redis.wait_closed(), return_exceptions=True)

    async def _step(self, link: _Link, commands: Sequence[Sequence[bytes]]) -> bytes:
        """Let one command through, or several that are one step; return the answers as they came."""
        kind = kind_of(commands[0])
        if kind in _POPS:
            commands = [[*commands[0][:-1], str(_BLOCK).encode()]]
        async with self._turn:
            if self.killed:
                raise _Killed
            nth = self._number(link, kind)
            self._kill_at(Point(kind, nth, Moment.BEFORE))
            link.to_redis.write(b"".join(b"*%d\r\n%b" % (len(each), pack(*each)) for each in commands))
            if kind not in _POPS:
                return await self._answers_to(link, commands, kind, nth)
            pop = self._pops[link.client_id] = _Pop()
        try:
            return await self._answers_to(link, commands, kind, nth)
        finally:
            del self._pops[link.client_id]
            pop.over.set()

    def _number(self, link: _Link, kind: str) -> int:
        """Return which of its kind a command is; 0 for one that is no step of its own."""
        in_a_row, link.last = link.last == kind and kind in HARMLESS, kind
        if in_a_row:
            return 0
        self.seen[kind] += 1
        return self.seen[kind]

    async def _answers_to(self, link: _Link, commands: Sequence[Sequence[bytes]], kind: str, nth: int) -> bytes:
        raw = b""
        for command in commands:
            while (answer := link.answers.gets()) is False:
                data = await link.from_redis.read(1 << 20)
                if not data:
                    raise ConnectionError("Redis has closed the connection")
                raw += data
                link.answers.feed(data)
            self._note(kind, command, answer)
            if kind == "CLIENT ID":
                link.client_id = answer
            elif kind == "CLIENT UNBLOCK" and answer and (pop := self._pops.get(int(command[2]))):
                # Its answer is under way.
                await pop.over.wait()
        self._kill_at(Point(kind, nth, Moment.AFTER))
        return raw

    def _note(self, kind: str, command: Sequence[bytes], answer: Any) -> None:
        self.done.append((kind, command, answer))
        for waiter, condition in [*self._waiters.items()]:
            if not waiter.done() and condition(kind, command, answer):
                waiter.set_result(None)

    def _kill_at(self, point: Point) -> None:
        if point == self._point:
            self.killed = True
            self.kill()
        if self.killed:
            raise _Killed


def kind_of(command: Sequence[bytes]) -> str:
    """Return the name of the script that a command calls, or else its verb."""
    verb = command[0].decode().upper()
    if verb == "EVALSHA":
        return _SCRIPTS[command[1]]
    return f"{verb} {command[1].decode().upper()}" if verb in _FAMILIES else verb


def steps_of(commands: Iterable[Sequence[bytes]]) -> Iterator[list[Sequence[bytes]]]:
    """Yield the commands of a pipeline, those that are one step together."""
    for kind, row in itertools.groupby(commands, key=kind_of):
        if kind in HARMLESS:
            yield list(row)
        else:
            yield from ([each] for each in row)


@asynccontextmanager
async def stepping(server_url: str, point: Point | None) -> AsyncIterator[Stepper]:
    """A proxy before the Redis of this URL, for one process."""
    stepper = Stepper(server_url, point)
    await stepper.start()
    try:
        yield stepper
    finally:
        with suppress(OSError):
            await stepper.stop()

"""A snapshot of a namespace, as ``asyncwork stats`` and ``asyncwork top`` show it."""

from __future__ import annotations

import math
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .._admin.metrics import RATE_MINUTES
from .._jobs.printable import plural, printable
from ..client import Client
from ..models.diagnosis import Overview
from ..models.pools import Heartbeat, Observation
from ..models.queues import JobCounts, QueueInfo
from .session import Session
from .table import Column, Row, table
from .terminal import fit
from .times import brief

# Problems that are shown as text. There is one for each queue that no pool serves.
_PROBLEMS = 10

POOL_COLUMNS = (
    Column("POOL", shrinks=True),
    Column("HOST", shrinks=True),
    Column("PID", right=True),
    Column("STATE"),
    Column("BUSY", right=True),
    Column("UP", right=True),
    Column("RUNNER", shrinks=True),
)
_VERSION = Column("VERSION", shrinks=True)

# Shown instead of the table of queues.
NO_QUEUES = "no queues: no job was enqueued, and no pool has started"


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A queue, as the commands show it.

    :ivar rate: attempts that ended, per minute.
    :ivar failed: attempts that failed in the last minutes.
    """

    queue: QueueInfo
    rate: float
    failed: int

    @property
    def limit(self) -> str:
        """How many of its jobs may run at once, and how many may start within a time, as text."""
        cap = f"{self.queue.max_concurrency:,}" if self.queue.max_concurrency else ""
        return ", ".join(filter(None, (cap, self.queue.rate_label))) or "-"

    @property
    def state(self) -> str:
        """The state that keeps its jobs from running, in a word."""
        if self.queue.paused:
            return "paused"
        if self.queue.rests_for:
            return f"rests {brief(math.ceil(self.queue.rests_for))}"
        if self.queue.count and not self.queue.pools:
            return "no pool"
        if self.queue.is_full:
            return "full"
        if self.queue.count and self.queue.rate and not self.queue.tokens:
            return "no token"
        return ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A namespace at one time.

    :ivar at: the time, epoch seconds.
    """

    at: float
    overview: Overview
    observations: Sequence[Observation]
    queues: Sequence[QueueRow]

    def busy(self, pool: Heartbeat) -> int:
        """Return how many jobs a pool runs."""
        return sum(each.pool_id == pool.pool_id for each in self.observations)


# The columns of queues: their title, their text, and the value by which they are sorted.
QUEUE_COLUMNS: Sequence[tuple[Column, Callable[[QueueRow], str], Callable[[QueueRow], Any]]] = (
    (Column("QUEUE", shrinks=True), lambda row: row.queue.name, lambda row: row.queue.name),
    (Column("WAITING", right=True), lambda row: f"{row.queue.count:,}", lambda row: row.queue.count),
    (
        Column("LATENCY", right=True),
        lambda row: brief(row.queue.latency) if row.queue.count else "-",
        lambda row: row.queue.latency,
    ),
    (Column("RUNNING", right=True), lambda row: f"{row.queue.running:,}", lambda row: row.queue.running),
    (Column("RATE/MIN", right=True), lambda row: rate_text(row.rate), lambda row: row.rate),
    (Column("FAILED", right=True), lambda row: f"{row.failed:,}", lambda row: row.failed),
    (Column("LIMIT", right=True), lambda row: row.limit, lambda row: row.queue.max_concurrency),
    (Column("POOLS", right=True), lambda row: f"{row.queue.pools:,}", lambda row: row.queue.pools),
    (Column("STATE"), lambda row: row.state, lambda row: row.state),
)


async def read_snapshot(client: Client) -> Snapshot:
    """Read a namespace.

    :raises RedisUnavailable: when Redis refuses, or cannot be reached.
    """
    overview, recent = await client.overview(), await client.recent(RATE_MINUTES)
    return Snapshot(time.time(), overview, await client.observations(), queue_rows(overview.queues, recent))


def queue_rows(queues: Iterable[QueueInfo], recent: dict[str, JobCounts]) -> list[QueueRow]:
    """Return what is shown of queues, with their counts of the last minutes."""
    minutes = RATE_MINUTES + time.time() % 60 / 60
    counted = [(queue, recent.get(queue.name, JobCounts())) for queue in queues]
    return [QueueRow(queue, counts.processed / minutes, counts.failed) for queue, counts in counted]


def as_json(session: Session, snapshot: Snapshot) -> dict[str, Any]:
    """Return a namespace as the fields of a JSON document."""
    overview = snapshot.overview
    return {
        **session.target,
        "at": round(snapshot.at, 3),
        "sizes": asdict(overview.sizes),
        "queues": [queue_json(row) for row in snapshot.queues],
        "pools": [_pool_json(each, snapshot.busy(each)) for each in overview.heartbeats],
        "problems": [asdict(each) for each in overview.problems],
        "server": asdict(overview.server),
    }


def queue_json(row: QueueRow) -> dict[str, Any]:
    """Return a queue as the fields of a JSON object."""
    queue = row.queue
    return {
        "name": queue.name,
        "waiting": queue.count,
        "latency": queue.latency,
        "running": queue.running,
        "rate_per_minute": round(row.rate, 3),
        "failed": row.failed,
        "max_concurrency": queue.max_concurrency,
        "rate": queue.rate,
        "rate_set": queue.rate_set,
        "tokens": queue.tokens,
        "rests_for": queue.rests_for,
        "paused": queue.paused,
        "pools": queue.pools,
        "max_waiting": queue.max_waiting,
        "chunk": queue.chunk,
        "wait": queue.wait,
        "fair": queue.fair,
        "tenants": queue.tenants,
        "tenants_held": queue.tenants_held,
        "duplicates_dropped": queue.duplicates_dropped,
        "duplicates_replaced": queue.duplicates_replaced,
    }


def _pool_json(pool: Heartbeat, busy: int) -> dict[str, Any]:
    return {
        "pool_id": pool.pool_id,
        "host": pool.host,
        "pid": pool.pid,
        "state": pool.state,
        "busy": busy,
        "concurrency": pool.concurrency,
        "started_at": pool.started_at,
        "heartbeat_at": pool.heartbeat_at,
        "runner": pool.runner,
        "version_label": pool.version_label,
        "job_names": pool.job_names,
    }


def lines(session: Session, snapshot: Snapshot) -> Iterator[str]:
    """Yield a namespace as lines."""
    width = session.width
    yield from head_lines(session, snapshot, width)
    yield ""
    yield from queue_lines(session, snapshot.queues)
    if snapshot.overview.heartbeats:
        yield ""
        yield from pool_lines(session, snapshot, snapshot.overview.heartbeats)
    problems = snapshot.overview.problems
    for problem in problems[:_PROBLEMS]:
        yield ""
        for line in _wrapped(f"problem: {printable(problem.text)}", "", width):
            yield session.styled(line, "red")
        yield from _wrapped(printable(problem.remedy), "  ", width)
    if len(problems) > _PROBLEMS:
        yield ""
        text = f"{plural(len(problems) - _PROBLEMS, 'more problem')}: `asyncwork doctor` shows all"
        yield session.styled(fit(text, width), "red")


def head_lines(session: Session, snapshot: Snapshot, width: int | None) -> Iterator[str]:
    """Yield the lines about the whole namespace."""
    sizes, server, pools = snapshot.overview.sizes, snapshot.overview.server, snapshot.overview.heartbeats
    memory = f"{server.memory / 2**20:,.1f} MiB"
    if server.memory_limit:
        memory += f" of {server.memory_limit / 2**20:,.1f} MiB"
    target = f"namespace {session.namespace} of {session.client.masked_url}"
    yield session.styled(fit(f"{target}, Redis {server.version}, {memory}", width), "bold")
    workers = sum(pool.concurrency for pool in pools)
    counts = [
        # A pool that looks ahead holds more jobs than it has workers.
        f"{plural(len(pools), 'pool')} with {plural(workers, 'worker')}",
        f"{sizes.busy:,} busy",
        f"{sizes.queued:,} queued",
        f"{sizes.retry:,} retry",
        f"{sizes.scheduled:,} scheduled",
        f"{sizes.dead:,} dead",
        *([f"{sizes.quarantine:,} quarantine"] if sizes.quarantine else []),
    ]
    yield fit(", ".join(counts), width)


def queue_lines(session: Session, rows: Sequence[QueueRow]) -> list[str]:
    """Return the table of queues."""
    if not rows:
        return [NO_QUEUES]
    columns = [column for column, _, _ in QUEUE_COLUMNS]
    shown = [Row([text(row) for _, text, _ in QUEUE_COLUMNS], "yellow" if row.state else "") for row in rows]
    return table(columns, shown, session.width, colors=session.colors)


def pool_lines(session: Session, snapshot: Snapshot, pools: Iterable[Heartbeat]) -> list[str]:
    """Return the table of pools, with their versions if any has a version label."""
    stale = Counter(each.subject for each in snapshot.overview.problems if each.kind == "stale_pool")
    pools = list(pools)
    labelled = any(each.version_label for each in pools)
    rows = [
        Row(
            [
                pool.pool_id,
                pool.host,
                str(pool.pid),
                "dead" if stale[pool.pool_id] else pool.state or "running",  # a pool of Go has no other state
                f"{snapshot.busy(pool)}/{pool.concurrency}",
                brief(max(0, round(snapshot.at - pool.started_at))),
                pool.runner or "gocraft/work",
                *([pool.version_label or "-"] if labelled else []),
            ],
            "red" if stale[pool.pool_id] else "",
        )
        for pool in pools
    ]
    return table((*POOL_COLUMNS, *([_VERSION] if labelled else [])), rows, session.width, colors=session.colors)


def rate_text(per_minute: float) -> str:
    """Return a rate per minute, with a decimal when it is small."""
    return f"{per_minute:.1f}" if 0 < per_minute < 9.95 else f"{per_minute:,.0f}"


def _wrapped(text: str, indent: str, width: int | None) -> list[str]:
    if width is None:
        return [indent + text]
    return textwrap.wrap(text, width, initial_indent=indent, subsequent_indent="  ", break_on_hyphens=False)

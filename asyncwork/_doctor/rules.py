"""What threatens a namespace, told from what was read of it. Pure: decides, reads nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..models import Heartbeat, Problem, QueueInfo, Sizes

# Seconds. gocraft/work takes a pool for dead after that long without a heartbeat.
_STALE = 10
# Seconds by which a clock may differ before times on different machines cannot be compared any more.
_SKEW = 5
# Seconds between two heartbeats, at most.
_BEAT = 5
# How much of `maxmemory` and of `maxclients` may be in use.
_NEARLY_FULL = 0.9
# Arguments that are told by name.
_LISTED = 5


@dataclass(frozen=True, slots=True)
class Pulse:
    """How a pool's heartbeat was seen to go.

    :ivar changed: when it was first seen as it is now, Redis's clock.
    :ivar ahead: by how much it was ahead of Redis's clock then, seconds; ``None`` until it was seen to change.
    """

    heartbeat_at: int
    changed: float
    ahead: float | None = None


class Watch:
    """Watches heartbeats over time: one that goes is not stale, whatever its clock says."""

    def __init__(self) -> None:
        self._pulses: dict[str, Pulse] = {}

    def see(self, heartbeats: Sequence[Heartbeat], now: float) -> None:
        """Take a look; ``now`` is Redis's clock, epoch seconds."""
        before, self._pulses = self._pulses, {}
        for each in heartbeats:
            pulse = before.get(each.pool_id)
            # Seen later than now: Redis's clock was ahead then.
            if pulse is None or pulse.changed > now:
                pulse = Pulse(each.heartbeat_at, now)
            elif pulse.heartbeat_at != each.heartbeat_at:
                pulse = Pulse(each.heartbeat_at, now, each.heartbeat_at - now)
            self._pulses[each.pool_id] = pulse

    def is_stale(self, heartbeat: Heartbeat, now: float) -> bool:
        """Tell whether a pool shows no sign of life: its heartbeat was seen to stand still for long, or is old and was
        not seen to change lately.
        """
        pulse = self._pulses.get(heartbeat.pool_id)
        if pulse is not None and now - pulse.changed > _STALE:
            return True
        goes = pulse is not None and pulse.ahead is not None
        return now - heartbeat.heartbeat_at > _STALE and not goes

    def silence(self, heartbeat: Heartbeat, now: float) -> float:
        """Return for how long a pool has shown no sign of life, as far as that is known, seconds."""
        pulse = self._pulses.get(heartbeat.pool_id)
        return max(now - heartbeat.heartbeat_at, 0.0 if pulse is None else now - pulse.changed)

    def skew(self, heartbeat: Heartbeat, now: float) -> float:
        """Return by how many seconds a pool's clock is ahead of Redis's, negative when behind; 0 when that is little
        or not known.
        """
        pulse = self._pulses.get(heartbeat.pool_id)
        ahead = heartbeat.heartbeat_at - now
        if ahead <= 0:
            # What is past tells nothing of the clock unless it was seen to come.
            ahead = pulse.ahead if pulse is not None and pulse.ahead is not None else 0.0
        return ahead if ahead > _SKEW or ahead < -_SKEW - _BEAT else 0.0


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read of a namespace.

    :ivar now: Redis's clock, epoch seconds.
    :ivar locks: by queue, its lock and each pool's share of it; ``None`` for what is no number.
    :ivar info: the fields of Redis's INFO.
    """

    now: float
    heartbeats: Sequence[Heartbeat]
    queues: Sequence[QueueInfo]
    sizes: Sizes
    locks: Mapping[str, tuple[int | None, Mapping[str, int | None]]]
    info: Mapping[str, Any]


def threats(facts: Facts, watch: Watch) -> list[Problem]:
    """Return what threatens a namespace, the worst first."""
    pools = pool_threats(facts.heartbeats, facts.now, watch)
    return [*server_threats(facts.info), *pools, *_queues(facts), *_locks(facts), *_bad_data(facts)]


def server_threats(info: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what threatens a namespace in the server itself, told from the fields of INFO."""
    policy = info.get("maxmemory_policy", "noeviction")
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    clients, most = int(info.get("connected_clients", 0)), int(info.get("maxclients", 0))
    if policy != "noeviction":
        full = "when its memory is full" if limit else "should maxmemory be set one day"
        yield Problem(
            "eviction",
            "",
            f"Redis may throw jobs away {full}: its maxmemory-policy is {policy}",
            "CONFIG SET maxmemory-policy noeviction, and in its configuration",
            "redis-cli CONFIG SET maxmemory-policy noeviction",
        )
    if info.get("role") == "slave":
        yield Problem(
            "replica",
            "",
            "this Redis is a replica, and takes no writes: nothing can be enqueued or taken from a queue here",
            f"give the address of its master, {info.get('master_host')}:{info.get('master_port')}; or make it one",
            "redis-cli INFO replication",
        )
    if limit and used > _NEARLY_FULL * limit:
        yield Problem(
            "memory",
            "",
            f"Redis has used {100 * used // limit} % of its maxmemory; when it is full, nothing can be enqueued",
            "raise maxmemory, or delete jobs that nobody needs",
            "redis-cli INFO memory",
        )
    if most and clients > _NEARLY_FULL * most:
        yield Problem(
            "clients",
            "",
            f"{clients} of the {most} connections that Redis allows are in use; when all are, no pool can start",
            "raise maxclients, or find out who has so many",
            "redis-cli CLIENT LIST",
        )
    if info.get("aof_last_write_status", "ok") != "ok" or info.get("rdb_last_bgsave_status", "ok") != "ok":
        yield Problem(
            "persistence",
            "",
            "Redis could not write its data to disk the last time it tried; should it end, jobs are lost",
            "look into its log: is the disk full?",
            "redis-cli INFO persistence",
        )


def pool_threats(heartbeats: Sequence[Heartbeat], now: float, watch: Watch) -> Iterator[Problem]:
    """Yield what is wrong with pools; ``now`` is Redis's clock, epoch seconds."""
    for each in heartbeats:
        where = f"{each.host or 'an unknown host'}, process {each.pid}"
        skew = watch.skew(each, now)
        if not each.heartbeat_at:
            yield Problem(
                "no_heartbeat",
                each.pool_id,
                f"pool {each.pool_id} is registered, but has no heartbeat; what it was running waits for a reaper",
                "another pool takes its jobs over within seconds; if none runs, have the doctor do it",
                "asyncwork doctor --repair",
            )
        elif watch.is_stale(each, now):
            yield Problem(
                "stale_pool",
                each.pool_id,
                f"the pool on {where} has not shown a sign of life for {watch.silence(each, now):.0f} s",
                "another pool takes its jobs over within seconds; if none runs, start one",
                "asyncwork run app:pool",
            )
        elif skew:
            yield Problem(
                "clock_skew",
                each.pool_id,
                f"the clock of {where} is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} Redis's",
                "let both machines follow a time server (chrony, systemd-timesyncd)",
                "timedatectl set-ntp true",
            )


def ignored_arguments(heartbeats: Sequence[Heartbeat]) -> Iterator[Problem]:
    """Yield which arguments the jobs of running pools bring in vain. No fault: they may be meant for a middleware."""
    counts: dict[str, Counter[str]] = {}
    for each in heartbeats:
        for ignored in each.ignored:
            counts.setdefault(ignored.job_name, Counter())[ignored.argument] += ignored.count
    for name, arguments in sorted(counts.items()):
        told = ", ".join(f"{key!r} ({count} times)" for key, count in arguments.most_common(_LISTED))
        yield Problem(
            "ignored_arguments",
            name,
            f"jobs {name!r} bring arguments that their handler does not take, and run without: {told}",
            "correct the name where the jobs are enqueued, or give the handler such a parameter",
        )


def _queues(facts: Facts) -> Iterator[Problem]:
    for each in facts.queues:
        if each.count and not each.pools:
            yield Problem(
                "no_workers",
                each.name,
                f"{each.count} jobs wait, and no running pool has a handler for them",
                "start a pool that does, or delete them",
                "asyncwork run app:pool",
            )


def _locks(facts: Facts) -> Iterator[Problem]:
    alive = {each.pool_id for each in facts.heartbeats}
    for each in facts.queues:
        lock, shares = facts.locks.get(each.name, (0, {}))
        held = sum(share or 0 for share in shares.values())
        if lock is None or lock < 0 or any(share is None for share in shares.values()):
            yield _stuck(each, "its lock is not a count of jobs")
        elif gone := [pool_id for pool_id, share in shares.items() if share and pool_id not in alive]:
            yield _stuck(each, f"its lock is held by a pool that is gone: {', '.join(gone)}")
        elif each.max_concurrency and lock > held and lock >= each.max_concurrency:
            yield _stuck(each, f"its lock is at {lock}, but the pools hold {held} of it")


def _stuck(queue: QueueInfo, text: str) -> Problem:
    remedy = "a pool's reaper mends it within a minute; if none runs, start one"
    return Problem("stuck_lock", queue.name, text, remedy, "asyncwork doctor --repair")


def _bad_data(facts: Facts) -> Iterator[Problem]:
    if facts.sizes.quarantine:
        yield Problem(
            "quarantine",
            "",
            f"{facts.sizes.quarantine} payloads are no jobs and were set aside",
            "look at them, mend the program that wrote them, and delete them",
        )

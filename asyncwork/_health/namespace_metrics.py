"""The metrics of a namespace. Their names begin with ``asyncwork_namespace_``, so that no query adds them to those of
processes: each process that serves them shows the same numbers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

from ..models.diagnosis import Overview
from ..models.limits import LimitInfo
from ..models.queues import JobCounts, QueueInfo
from .exposition import Exposition

# The most queues that are distinguished.
MOST_QUEUES = 500

_QUEUE_GAUGES: list[tuple[str, str, Callable[[QueueInfo], int]]] = [
    ("queue_jobs", "Jobs that wait in a queue.", lambda queue: queue.count),
    (
        "queue_latency_seconds",
        "How long ago the next job of a queue was enqueued; 0 if none waits.",
        lambda queue: queue.latency,
    ),
    ("queue_running_jobs", "Jobs of a queue that run, in all pools.", lambda queue: queue.running),
    (
        "queue_max_concurrency",
        "How many jobs of a queue may run at once; 0 for any.",
        lambda queue: queue.max_concurrency,
    ),
    (
        "queue_capped",
        "1 if jobs of a queue wait because as many run as may run at once.",
        lambda queue: bool(queue.count and 0 < queue.max_concurrency <= queue.running),
    ),
    ("queue_max_waiting", "How many jobs may wait in a queue; 0 for any.", lambda queue: queue.max_waiting),
    ("queue_full", "1 if as many jobs wait in a queue as may.", lambda queue: queue.is_full),
    ("queue_paused", "1 if a queue is paused.", lambda queue: queue.paused),
    (
        "queue_out_of_tokens",
        "1 if jobs of a queue wait because its rate has no token left.",
        lambda queue: bool(queue.count and queue.rate and not queue.tokens),
    ),
    (
        "queue_rest_seconds",
        "For how long a queue rests because a job was rate limited; 0 if it does not.",
        lambda queue: math.ceil(queue.rests_for),
    ),
    ("queue_pools", "Pools that are alive and serve a queue.", lambda queue: queue.pools),
    # Tenants have no label, because there may be any number of them.
    ("queue_tenants", "Tenants of a fair queue whose jobs wait.", lambda queue: queue.tenants),
    (
        "queue_tenants_held",
        "Tenants of a fair queue whose jobs wait and may not start.",
        lambda queue: queue.tenants_held,
    ),
]


_LIMIT_GAUGES: list[tuple[str, str, Callable[[LimitInfo], int]]] = [
    ("limit_running", "Jobs and slots of a shared limit, in all programs.", lambda limit: limit.running + limit.slots),
    ("limit_concurrency", "How many there may be at once; 0 for any.", lambda limit: limit.concurrency),
    ("limit_tokens", "How many tokens of a shared limit are left; 0 if it has no rate.", lambda limit: limit.tokens),
    ("limit_used_up", "1 if no job or slot of a shared limit may start now.", lambda limit: limit.is_used_up),
]


def namespace_metrics(
    namespace: str, overview: Overview, today: JobCounts, open_batches: int = 0, limits: Sequence[LimitInfo] = ()
) -> str:
    """Return the metrics of a namespace as text.

    :param today: the counts of the current day (UTC).
    :param open_batches: how many batches have not ended.
    :param limits: those that job types share.
    """
    out = _begin(namespace, redis=True)
    _jobs(out, overview)
    _pools(out, overview)
    _queues(out, overview.queues)
    _limits(out, limits)
    _today(out, today)
    out.metric("asyncwork_namespace_open_batches", "gauge", "Batches and flows that have not ended.")
    out.sample(open_batches)
    out.metric("asyncwork_namespace_problems", "gauge", "Problems that one reading shows, by kind.")
    for kind, count in sorted(Counter(each.kind for each in overview.problems).items()):
        out.sample(count, kind=kind)
    out.metric("asyncwork_namespace_redis_memory_bytes", "gauge", "The memory that Redis uses.")
    out.sample(overview.server.memory)
    out.metric("asyncwork_namespace_redis_max_memory_bytes", "gauge", "The memory that Redis may use; 0 for any.")
    out.sample(overview.server.memory_limit)
    return out.text()


def unavailable_metrics(namespace: str) -> str:
    """Return the metrics of a namespace whose Redis does not answer, as text."""
    return _begin(namespace, redis=False).text()


def _begin(namespace: str, *, redis: bool) -> Exposition:
    out = Exposition()
    out.metric("asyncwork_namespace_info", "gauge", "The name of the namespace; always 1.")
    out.sample(1, name=namespace)
    out.metric("asyncwork_namespace_redis_up", "gauge", "1 if Redis answers.")
    out.sample(redis)
    return out


def _jobs(out: Exposition, overview: Overview) -> None:
    sizes = overview.sizes
    out.metric("asyncwork_namespace_jobs", "gauge", "Jobs, by where they are.")
    for location in ("queued", "busy", "retry", "scheduled", "dead", "quarantine"):
        out.sample(getattr(sizes, location), location=location)
    out.metric(
        "asyncwork_namespace_latency_seconds",
        "gauge",
        "How long ago the next job of any queue that is not paused was enqueued; 0 if none waits.",
    )
    out.sample(max((each.latency for each in overview.queues if not each.paused), default=0))


def _pools(out: Exposition, overview: Overview) -> None:
    gone = {each.subject for each in overview.problems if each.kind in ("no_heartbeat", "stale_pool")}
    live = [each for each in overview.heartbeats if each.pool_id not in gone]
    out.metric(
        "asyncwork_namespace_pools", "gauge", "Pools that are alive, by state; those of gocraft/work as running."
    )
    states = Counter(each.state or "running" for each in live)
    for state in ("running", "quiet", "stopping"):
        out.sample(states[state], state=state)
    out.metric("asyncwork_namespace_version_pools", "gauge", "Pools that are alive and have a version label, by label.")
    for label, count in sorted(Counter(each.version_label for each in live if each.version_label).items()):
        out.sample(count, version_label=label)
    out.metric("asyncwork_namespace_slots", "gauge", "How many jobs the pools that are alive can run at once.")
    out.sample(sum(each.concurrency for each in live))


def _queues(out: Exposition, queues: Sequence[QueueInfo]) -> None:
    # If there are too many, those whose jobs wait longest are distinguished.
    ordered = sorted(queues, key=lambda each: (-each.latency, -each.count, -each.running, each.name))
    shown, rest = sorted(ordered[:MOST_QUEUES], key=lambda each: each.name), ordered[MOST_QUEUES:]
    for name, description, value_of in _QUEUE_GAUGES:
        out.metric(f"asyncwork_namespace_{name}", "gauge", description)
        for queue in shown:
            out.sample(value_of(queue), queue=queue.name)
    out.metric(
        "asyncwork_namespace_queue_duplicates_total",
        "counter",
        "Jobs that were not enqueued because another one of their name keeps them out, by what became of them.",
    )
    for queue in shown:
        out.sample(queue.duplicates_dropped, queue=queue.name, outcome="dropped")
        out.sample(queue.duplicates_replaced, queue=queue.name, outcome="replaced")
    out.metric(
        "asyncwork_namespace_other_queues", "gauge", f"Queues beyond {MOST_QUEUES}, which are not shown one by one."
    )
    out.sample(len(rest))
    out.metric("asyncwork_namespace_other_queues_jobs", "gauge", "Jobs that wait in these other queues.")
    out.sample(sum(each.count for each in rest))


def _limits(out: Exposition, limits: Sequence[LimitInfo]) -> None:
    for name, description, value_of in _LIMIT_GAUGES:
        out.metric(f"asyncwork_namespace_{name}", "gauge", description)
        for limit in limits[:MOST_QUEUES]:
            out.sample(value_of(limit), limit=limit.name)


def _today(out: Exposition, today: JobCounts) -> None:
    failed_otherwise = today.failed - today.retried - today.dead
    done = today.processed - today.failed - today.expired - today.cancelled
    description = (
        "Attempts that ended in all pools of asyncwork, by outcome; begins at 0 at midnight UTC. Jobs that were "
        "snoozed or discarded count as done."
    )
    out.metric("asyncwork_namespace_attempts_total", "counter", description)
    for outcome, count in (
        ("done", done),
        ("retried", today.retried),
        ("dead", today.dead),
        ("dropped", failed_otherwise),
        ("expired", today.expired),
        ("cancelled", today.cancelled),
    ):
        out.sample(max(0, count), outcome=outcome)

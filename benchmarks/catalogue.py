"""The sides that are compared: asyncwork, the baseline, other queues, and another checkout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Side:
    """A program that enqueues and runs jobs.

    :ivar module: its file in ``sides``; ``gocraft`` is a Go program there, ``bullmq`` one for Node.
    :ivar requirements: the packages of its own environment, from PyPI, or from npm for Node; empty if it runs in
        asyncwork's environment.
    :ivar event_loop: whether it runs its handlers on an asyncio event loop.
    :ivar acknowledges: whether a job runs again after its worker was killed, with these settings.
    :ivar bulk: how it enqueues many jobs; empty if it has no way of its own.
    :ivar most: the most jobs that it can run at once.
    """

    name: str
    module: str
    requirements: tuple[str, ...] = ()
    event_loop: bool = True
    acknowledges: bool = True
    bulk: str = ""
    most: int = 1_000_000


ASYNCWORK = Side("asyncwork", "asyncwork", bulk="enqueue_many")
BASELINE = Side("baseline", "baseline")
ALONE = Side("asyncio alone", "alone")
# The asyncwork of another checkout, with the code of this benchmark.
BASE = Side("base", "asyncwork", bulk="enqueue_many")

_REDIS = "redis[hiredis]"

PEERS = (
    Side("gocraft/work", "gocraft", event_loop=False, bulk="20 goroutines"),
    Side("dramatiq", "dramatiq", ("dramatiq[redis]", _REDIS), event_loop=False),
    Side("taskiq-stream", "taskiq", ("taskiq", "taskiq-redis", _REDIS), bulk="20 at once"),
    Side("taskiq-list", "taskiq", ("taskiq", "taskiq-redis", _REDIS), acknowledges=False, bulk="20 at once"),
    Side("huey", "huey", ("huey", _REDIS), event_loop=False, acknowledges=False),
    # It imports typing_extensions without requiring it.
    Side("saq", "saq", ("saq[redis]", _REDIS, "typing_extensions"), acknowledges=False, bulk="20 at once"),
    Side("streaq", "streaq", ("streaq",), bulk="enqueue_many"),
    Side("arq", "arq", ("arq", _REDIS), bulk="20 at once"),
    Side("celery", "celery", ("celery[redis]", _REDIS), event_loop=False),
    Side("rq", "rq", ("rq", _REDIS), event_loop=False, acknowledges=False, bulk="enqueue_many", most=1),
)

_BY_NAME = {side.name: side for side in PEERS}
# These two are measured only where asyncwork's limits and flows are.
BULLMQ = Side("bullmq", "bullmq", ("bullmq", "ioredis"), event_loop=False, bulk="addBulk")
DOCKET = Side("docket", "docket", ("pydocket", _REDIS), bulk="add_many")
# Those that have a limit of `orders.LIMITS`, or jobs that depend on each other.
WITH_LIMITS = (DOCKET, _BY_NAME["saq"], BULLMQ)
WITH_FLOWS = (_BY_NAME["celery"], _BY_NAME["rq"], _BY_NAME["streaq"], BULLMQ)


def named(names: str, peers: Sequence[Side] = PEERS) -> list[Side]:
    """Return those of the peers in a list such as ``arq,saq``, or for ``all`` or ``none``.

    :raises LookupError: when a name is unknown; the message lists all names.
    """
    if names in {"all", "none"}:
        return list(peers) if names == "all" else []
    known = {side.name: side for side in peers}
    if unknown := [name for name in names.split(",") if name not in known]:
        raise LookupError(f"unknown peer: {', '.join(unknown)}; choose from {', '.join(known)}, all, none")
    return [known[name] for name in names.split(",")]

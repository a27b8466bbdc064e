"""Who is compared, what each needs, and what its setting means."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Side:
    """Who runs jobs.

    :ivar module: its file in ``sides``; ``gocraft`` is a Go program there.
    :ivar requirements: what its environment is made of, from PyPI; none for what runs in ours.
    :ivar event_loop: whether it runs its handlers on an asyncio event loop.
    :ivar acknowledges: whether a job that was running when its worker was killed runs again, at this setting.
    :ivar bulk: its own way to enqueue many jobs; empty if it has none.
    :ivar most: how many jobs it can run at once.
    """

    name: str
    module: str
    requirements: tuple[str, ...] = ()
    event_loop: bool = True
    acknowledges: bool = True
    bulk: str = ""
    most: int = 1_000_000


ASYNCWORK = Side("asyncwork", "asyncwork", bulk="enqueue_many")
FLOOR = Side("floor", "floor")
ALONE = Side("asyncio alone", "alone")

_REDIS = "redis[hiredis]"

PEERS = (
    Side("gocraft/work", "gocraft", event_loop=False, bulk="20 goroutines"),
    Side("dramatiq", "dramatiq", ("dramatiq[redis]", _REDIS), event_loop=False),
    Side("taskiq-stream", "taskiq", ("taskiq", "taskiq-redis", _REDIS), bulk="20 at once"),
    Side("taskiq-list", "taskiq", ("taskiq", "taskiq-redis", _REDIS), acknowledges=False, bulk="20 at once"),
    Side("huey", "huey", ("huey", _REDIS), event_loop=False, acknowledges=False),
    # It imports typing_extensions, and does not ask for it.
    Side("saq", "saq", ("saq[redis]", _REDIS, "typing_extensions"), acknowledges=False, bulk="20 at once"),
    Side("streaq", "streaq", ("streaq",), bulk="enqueue_many"),
    Side("arq", "arq", ("arq", _REDIS), bulk="20 at once"),
    Side("celery", "celery", ("celery[redis]", _REDIS), event_loop=False),
    Side("rq", "rq", ("rq", _REDIS), event_loop=False, acknowledges=False, bulk="enqueue_many", most=1),
)


def named(names: str) -> list[Side]:
    """Return the peers of a list such as ``arq,saq``; ``all`` and ``none`` are such lists too.

    :raises LookupError: when there is none of a name; the message says which there are.
    """
    if names in {"all", "none"}:
        return list(PEERS) if names == "all" else []
    known = {side.name: side for side in PEERS}
    if unknown := [name for name in names.split(",") if name not in known]:
        raise LookupError(f"no such peer: {', '.join(unknown)}; there are {', '.join(known)}, all, none")
    return [known[name] for name in names.split(",")]

"""The registration of job names, by which pages and gocraft/work's programs know the queues."""

from __future__ import annotations

from collections.abc import Iterable

from .keys import Keys
from .protocol import command, encode

# Seconds after which a job name is registered again, because Redis may have lost it with its data; gocraft/work's 300
# are long for that.
REGISTERED_FOR = 5


def registration(keys: Keys, names: Iterable[str]) -> bytes:
    """Return the command that registers names of jobs."""
    return command(b"SADD", encode(keys.known_jobs), *map(encode, names))

"""Commands that write jobs to a queue which may be full, and what their replies say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import QueueFull
from . import scripts
from .keys import Keys
from .protocol import encode, pack


class Write(NamedTuple):
    """A command that writes jobs.

    :ivar jobs: the positions of these jobs among all new ones.
    :ivar unique: whether its reply distinguishes a new job from a duplicate.
    :ivar limited: the name of the queue, if its reply may say that it is full.
    """

    command: bytes
    jobs: Sequence[int]
    unique: bool = False
    limited: str = ""


def limited_push(keys: Keys, name: str, packed: Sequence[bytes], limit: int, *, front: bool) -> bytes:
    """Return the command that writes as many payloads, in their order, as may wait in a queue.

    :param limit: how many may wait if no limit was set at run time; 0 for any number.
    """
    head = scripts.head("enqueue_limited", 2) + pack(encode(keys.queue(name)), encode(keys.max_waiting))
    args = pack(encode(name), b"%d" % limit, b"%d" % front)
    # EVALSHA, the script, the number of keys, two keys, and three arguments come before the payloads.
    return b"*%d\r\n%b%b%b" % (8 + len(packed), head, args, b"".join(packed))


def split_by_limit(write: Write, reply: Any) -> tuple[Sequence[int], Sequence[int], QueueFull | None]:
    """Return the jobs of a command that were written, those after them that were not, and why.

    :param reply: not an error.
    """
    # Scripts that write unique jobs reply otherwise, unless the queue is full.
    if not write.limited or not isinstance(reply, list) or not isinstance(reply[1], int):
        return write.jobs, (), None
    written, waiting, limit = reply
    if written == len(write.jobs):
        return write.jobs, (), None
    return write.jobs[:written], write.jobs[written:], QueueFull(write.limited, waiting, limit)

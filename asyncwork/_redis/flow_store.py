"""The flows of a namespace, as Redis holds them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence

from .._jobs.flow_plan import Span
from .._jobs.membership import SETTLE_NAME
from .._jobs.payload import encode_job
from .client import run_script
from .errors import ErrorReply, is_wrong_type
from .member_calls import shared_keys
from .namespace import Namespace
from .protocol import decode, read_count
from .slices import slices

# Fields that one command reads.
_SLICE = 1000


class FlowStore:
    """Reads what is known of the nodes of flows, and repairs it.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys

    async def has_ended(self, flow_id: str) -> bool:
        """Return whether a flow has ended, or is gone."""
        try:
            there, ended = await self._redis.client().hmget(self._keys.batch(flow_id)[0], ["next", "ended_at"])
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return True
        return there is None or ended is not None

    async def groups(self, flow_id: str) -> list[bytes]:
        """Return the groups of nodes, JSON, in parts."""
        (parts,) = await self._fields(flow_id, ["parts"])
        count = read_count(parts) or 0
        found = await self._fields(flow_id, [f"groups:{number}" for number in range(1, count + 1)])
        return [each for each in found if each is not None]

    async def set_states(self, flow_id: str, sets: Sequence[int]) -> dict[int, str]:
        """Return the states of sets of nodes; those that do not exist are left out."""
        states: dict[int, str] = {}
        # So that the event loop goes on in between, however many there are.
        for some in slices(sets, _SLICE):
            found = await self._fields(flow_id, [f"set:{number}" for number in some])
            for number, text in zip(some, found, strict=True):
                words = decode(text or b"").split()
                if len(words) == 6:
                    states[number] = words[2]
        return states

    async def left_before(self, flow_id: str, number: int, first_of_set: int) -> int:
        """Return how many nodes before one that waits have not ended; 0 for one that does not wait.

        :param first_of_set: the first number of the set of the node.
        """
        job, text = await self._fields(flow_id, [f"job:{number}", f"set:{first_of_set}"])
        words = decode(text or b"").split()
        if job is None or len(words) != 6 or words[2] != "waiting":
            return 0
        return read_count(words[3].encode()) or 0

    async def waits(self, flow_id: str, number: int) -> bool:
        """Return whether a node waits for those before it."""
        (job,) = await self._fields(flow_id, [f"job:{number}"])
        if job is None:
            return False
        try:
            # The payload of a node that was cancelled is kept, in case that it is to run after all.
            return not await self._redis.client().getbit(self._keys.batch(flow_id)[1], number)
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return False

    async def scan(self, flow_id: str) -> AsyncIterator[Mapping[bytes, bytes]]:
        """Yield the fields of the hash of the nodes, some at a time. A field may come twice."""
        key, cursor = self._keys.batch(flow_id)[4], 0
        while True:
            try:
                cursor, some = await self._redis.client().hscan(key, cursor, count=_SLICE)
            except ErrorReply as error:
                if not is_wrong_type(error):
                    raise
                return
            yield some
            if not cursor:
                return

    async def is_scheduled(self, entry: bytes) -> bool:
        """Return whether an entry is in the scheduled set."""
        try:
            return await self._redis.client().zscore(self._keys.scheduled, entry) is not None
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return False

    async def repair(
        self,
        flow_id: str,
        sets: Sequence[tuple[int, bytes, Sequence[Span]]],
        stuck: Sequence[tuple[int, int]],
        unreadable: Sequence[int],
    ) -> int:
        """Have a flow go on that is stuck; return how many sets and nodes were corrected.

        :param sets: those to be counted anew: the number of the first node, the field as it was found, and the nodes
            that they follow.
        :param stuck: the nodes whose turn has come, or will never come, each with the first number of its set.
        :param unreadable: the nodes whose jobs cannot be read. They are removed.
        """
        _, entry = encode_job(SETTLE_NAME, {"flow": flow_id}, int(time.time()), job_id=f"{flow_id}-settle")
        args: list[bytes | int] = [entry, len(unreadable), len(stuck), *unreadable]
        args += (number for pair in stuck for number in pair)
        for first, text, after in sets:
            args += (first, text, len(after), *(number for span in after for number in span))
        keys = [*shared_keys(self._keys), *self._keys.batch(flow_id)]
        return int(await run_script(self._redis.client(), "repair_flow", keys, args))

    async def _fields(self, flow_id: str, names: Sequence[str]) -> list[bytes | None]:
        key, found = self._keys.batch(flow_id)[4], list[bytes | None]()
        for some in slices(names, _SLICE):
            try:
                found += await self._redis.client().hmget(key, list(some))
            except ErrorReply as error:
                if not is_wrong_type(error):
                    raise
                found += [None] * len(some)
        return found

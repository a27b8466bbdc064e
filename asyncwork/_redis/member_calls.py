"""Calls of the scripts that end members of batches as another script ends jobs, and note that in their batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .._jobs.membership import Member, MemberState
from .keys import Keys


class BatchKeys:
    """The keys of the batches of one script, each five, which its arguments name by the number of the first of them.

    :param before: how many keys of the script are before them.
    """

    def __init__(self, keys: Keys, before: int) -> None:
        self._keys = keys
        self._before = before
        self._firsts: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._firsts)

    def first(self, batch_id: str) -> int:
        """Return the number of the first key of a batch, which is appended if it is new."""
        return self._firsts.setdefault(batch_id, self._before + 5 * len(self._firsts) + 1)

    @property
    def names(self) -> list[str]:
        """The keys in their order."""
        return [key for batch_id in self._firsts for key in self._keys.batch(batch_id)]


def shared_keys(keys: Keys) -> list[str]:
    """Return the keys with which every script begins that settles members."""
    return [keys.scheduled, keys.cancels, keys.open_batches, keys.unique_flows]


class MemberCalls:
    """The keys and arguments of one script that includes ``settle_calls``: members, each with the keys and arguments of
    the script that ends it.
    """

    def __init__(self, keys: Keys) -> None:
        self._shared = shared_keys(keys)
        self._batches = BatchKeys(keys, len(self._shared))
        self._keys: list[str | bytes] = []
        self._args: list[bytes | int | float | str] = []

    def add(
        self,
        member: Member,
        state: MemberState,
        keys: Iterable[str | bytes],
        args: Sequence[bytes | int | float | str],
    ) -> None:
        """Add a member, with how it ends, and the keys and arguments of the other script."""
        keys = list(keys)
        self._args += (self._batches.first(member.batch_id), member.number, state.value, len(keys), len(args), *args)
        self._keys += keys

    @property
    def keys(self) -> list[str | bytes]:
        """The keys of the script."""
        return [*self._shared, *self._batches.names, *self._keys]

    @property
    def args(self) -> list[bytes | int | float | str]:
        """The arguments of the script."""
        return [len(self._batches), *self._args]

"""Walk through nested values without recursion, because a payload may be nested deeper than the interpreter can go."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

CONTAINERS = (dict, list, tuple)

_SCALARS = frozenset({str, int, float, bool, type(None)})
_MAX_PATH_STEPS = 20


class NotJson(Exception):
    """Why a value cannot be written as JSON."""


class Level:
    """A list or object that a walk is in, and the index or key that the walk has reached."""

    __slots__ = ("container", "items", "key")

    def __init__(self, container: object, items: Iterator[tuple[object, object]]) -> None:
        self.container = container
        self.items = items
        self.key: object = None


class Walk:
    """A walk through nested lists and objects, depth first and in order, that knows the path to where it is.

    Iterating over it gives the innermost level again and again, until the walk has left all of them. The caller goes
    on with that level's items, setting its key, up to the next container, which it enters, or up to their end, where
    it leaves::

        walk.enter(value)
        for level in walk:
            for key, item in level.items:
                level.key = key
                if isinstance(item, CONTAINERS):
                    walk.enter(item)
                    break
            else:
                walk.leave()

    :param max_depth: the levels of nesting that are allowed.
    :param members: returns the members of an object in the order in which to walk them.
    """

    def __init__(
        self,
        max_depth: int,
        members: Callable[[dict[Any, object]], Iterable[tuple[object, object]]] = dict.items,
    ) -> None:
        self._max_depth = max_depth
        self._members = members
        self._levels: list[Level] = []
        self._within: set[int] = set()

    def __iter__(self) -> Iterator[Level]:
        while self._levels:
            yield self._levels[-1]

    def enter(self, container: dict[Any, object] | list[object] | tuple[object, ...]) -> None:
        """Go into a list or object.

        :raises NotJson: when it contains itself or is nested too deep.
        """
        if id(container) in self._within:
            raise NotJson("it contains itself")
        if len(self._levels) == self._max_depth:
            raise NotJson(f"it is nested more than {self._max_depth} levels deep")
        items = self._members(container) if isinstance(container, dict) else enumerate(container)
        self._levels.append(Level(container, iter(items)))
        self._within.add(id(container))

    def leave(self) -> None:
        """Go back to the container around the innermost one."""
        self._within.remove(id(self._levels.pop().container))

    def path(self, root: str = "args") -> str:
        """Return where the walk is, such as ``args["user"][0]``; a long path is cut after 20 steps.

        :param root: what the message calls the value that is walked through.
        """
        more = "…" if len(self._levels) > _MAX_PATH_STEPS else ""
        return f"{root}{''.join(subscript(level.key) for level in self._levels[:_MAX_PATH_STEPS])}{more}"


def subscript(key: object) -> str:
    """Return a step of a path, such as ``["user"]`` or ``[0]``."""
    return f"[{json.dumps(key, ensure_ascii=False)}]".encode("utf-8", "backslashreplace").decode()


def groups(values: Collection[object]) -> Iterator[Collection[object]]:
    """Yield ``values`` and the values of every dict, list and tuple within them, at any depth, in no set order.

    This is the quick walk: it neither knows a path nor notices that a container contains itself.
    """
    pending = [values]
    while pending:
        group = pending.pop()
        yield group
        if not _SCALARS.issuperset(map(type, group)):
            pending += [value.values() for value in group if type(value) is dict]
            pending += [value for value in group if type(value) is list or type(value) is tuple]

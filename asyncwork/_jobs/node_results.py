"""Results of nodes as arguments of other nodes: placeholders, their form in a payload, and the results in their place.

In a payload, the result of node 3 of the same flow is ``{"asyncwork:result": 3}``, and the list of those of 100 nodes
from node 3 on ``{"asyncwork:results": [3, 100]}``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .._json import codec
from .._json.walk import subscript
from ..errors import ArgumentMismatchError, PayloadError, UsageError
from .membership import member_id

RESULT, RESULTS = "asyncwork:result", "asyncwork:results"
# In the bytes of a payload that has any.
MARK = b'"asyncwork:result'
# How deep in an argument placeholders may be.
_DEEPEST = 50
# Bytes of a result, as JSON.
RESULT_LIMIT = 262_144
# How the text begins that is kept in the place of a result, before the reason for which there is none. No JSON does.
_NONE = b"!"


class NodeResults:
    """Stands for the result of a node of a flow, or for those of several, in the arguments of a node after it.

    :ivar flow_id: the flow.
    :ivar first: the number of the node, or of the first.
    :ivar count: how many nodes; ``None`` for the result of a single one, which is no list.
    """

    __slots__ = ("count", "first", "flow_id")

    def __init__(self, flow_id: str, first: int, count: int | None = None) -> None:
        self.flow_id: str = flow_id
        self.first: int = first
        self.count: int | None = count

    @property
    def numbers(self) -> range:
        """The numbers of the nodes."""
        return range(self.first, self.first + (1 if self.count is None else self.count))

    def form(self) -> dict[str, object]:
        """Return what stands for it in a payload."""
        return {RESULT: self.first} if self.count is None else {RESULTS: [self.first, self.count]}

    # As text, a key or a condition, it would stand for nothing, and the handler would get what looks like a value.
    def __str__(self) -> str:
        raise UsageError(
            f"{self!r} has no value yet: pass it whole, as an argument or within a list or mapping that is one, and "
            "have the handler make of it what you want"
        )

    def __format__(self, spec: str) -> str:
        return str(self)

    def __bool__(self) -> bool:
        return bool(str(self))

    def __repr__(self) -> str:
        what = "result of node" if self.count is None else f"results of {self.count} nodes from"
        return f"<{what} {self.first} of flow {self.flow_id}>"


def take_placeholders(args: Mapping[str, Any] | None) -> tuple[Mapping[str, Any] | None, list[NodeResults]]:
    """Return arguments as a payload has them, and the placeholders that were in them.

    :raises UsageError: when an argument has a key that is for placeholders alone, or a placeholder is nested too deep.
    """
    found: list[NodeResults] = []
    if not args:
        return args, found
    return {key: _without(value, f"args{subscript(key)}", found, 0) for key, value in args.items()}, found


def _without(value: Any, path: str, found: list[NodeResults], depth: int) -> Any:
    if isinstance(value, NodeResults):
        if depth > _DEEPEST:
            raise UsageError(f"{path}: a result of a node may be {_DEEPEST} levels deep in an argument, not more")
        found.append(value)
        return value.form()
    # The encoder refuses values that are nested deeper.
    if depth > _DEEPEST:
        return value
    if isinstance(value, dict):
        if any(isinstance(key, NodeResults) for key in value):
            raise UsageError(f"{path}: a key cannot be the result of a node: pass it as a value")
        if RESULT in value or RESULTS in value:
            raise UsageError(
                f"{path}: the keys {RESULT!r} and {RESULTS!r} stand for results of nodes: pass node.result, or give "
                "the key another name"
            )
        if any(map(_may_hold, value.values())):
            return {key: _without(each, f"{path}[…]", found, depth + 1) for key, each in value.items()}
    elif isinstance(value, (list, tuple)) and any(map(_may_hold, value)):
        return [_without(each, f"{path}[{at}]", found, depth + 1) for at, each in enumerate(value)]
    return value


def _may_hold(value: object) -> bool:
    return isinstance(value, (NodeResults, dict, list, tuple))


def wanted_by(args: Mapping[str, Any]) -> list[int]:
    """Return the numbers of the nodes whose results stand for arguments of a job."""
    wanted: set[int] = set()
    _replace(args, lambda form: wanted.update(_numbers(form)))
    return sorted(wanted)


def with_results(
    flow_id: str, args: Mapping[str, Any], results: Mapping[int, bytes | None], name_of: Callable[[int], str] = str
) -> dict[str, Any]:
    """Return the arguments of a job with results in the places of what stands for them.

    :param results: by number of the node; ``None`` for one that has not returned, which gives ``None``.
    :raises ArgumentMismatchError: when a node has returned what could not be kept. It is permanent.
    """

    def value_of(number: int) -> Any:
        raw = results.get(number)
        if raw is None:
            return None
        problem = raw.removeprefix(_NONE).decode(errors="replace")
        if not raw.startswith(_NONE):
            try:
                return codec.decode(raw)
            except PayloadError as error:
                problem = str(error)
        raise _permanent(f"the result of node {member_id(flow_id, number)} cannot be taken: {problem}")

    def values_of(form: Mapping[str, Any]) -> Any:
        if RESULT in form:
            return value_of(form[RESULT])
        return [value_of(number) for number in _numbers(form)]

    replaced: dict[str, Any] = _replace(args, values_of)
    return replaced


def flow_gone(flow_id: str) -> ArgumentMismatchError:
    """Return why a job does not run whose arguments stand for results that went with their flow. It is permanent."""
    return _permanent(f"flow {flow_id} is not kept any more, and the results of its nodes went with it")


def _permanent(text: str) -> ArgumentMismatchError:
    mismatch = ArgumentMismatchError(text)
    mismatch.permanent = True
    return mismatch


def _numbers(form: Mapping[str, Any]) -> Iterator[int]:
    if RESULT in form:
        return iter((form[RESULT],))
    first, count = form[RESULTS]
    return iter(range(first, first + count))


def _replace(value: Any, of_form: Callable[[Mapping[str, Any]], Any], depth: int = -1) -> Any:
    """Return a value with what a function returns in the places of all forms."""
    if depth > _DEEPEST:
        return value
    if isinstance(value, dict):
        if depth >= 0 and _is_form(value):
            return of_form(value)
        return {key: _replace(each, of_form, depth + 1) for key, each in value.items()}
    if isinstance(value, list):
        return [_replace(each, of_form, depth + 1) for each in value]
    return value


def _is_form(value: dict[str, Any]) -> bool:
    if len(value) != 1:
        return False
    ((key, given),) = value.items()
    if key == RESULT:
        return type(given) is int and given >= 0
    return (
        key == RESULTS
        and type(given) is list
        and len(given) == 2
        and all(type(each) is int and 0 <= each < 10**9 for each in given)
    )


def unkept(problem: str) -> bytes:
    """Return what is kept in the place of a result that cannot be kept: the problem, for a job that takes it."""
    return _NONE + problem.encode(errors="backslashreplace")

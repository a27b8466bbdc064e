"""The arguments by which a rule distinguishes jobs: checked against a handler, and taken from a job."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from copy import copy
from typing import Any

from ..errors import UsageError
from ..limit import cost_for
from ..unique import Debounce, Throttle, Unique
from .binding import bind_some_arguments
from .enqueue_options import AT_ONCE, EnqueueOptions
from .handler import Handler
from .names import suggestion
from .printable import shown


def by_type(named: object, args: Mapping[str, Any] | None, options: EnqueueOptions) -> tuple[Any, EnqueueOptions]:
    """Return the arguments and the options of a job, with what its type says if it is given by its task.

    :param named: its name, or its task.
    :raises UsageError, ArgumentEncodingError: when they do not fit.
    """
    handler: object = getattr(named, "_handler", None)
    if not isinstance(handler, Handler):
        return args, options
    options = options.of_type(handler.options)
    if options.cost is None and isinstance(args, (Mapping, type(None))):
        options = options.costing(cost_of(handler, args))
    # Arguments of another type are refused when the job is made.
    if options.rule is not None and isinstance(args, (Mapping, type(None))):
        check_names(options.rule, handler)
        args = with_defaults(options.rule, handler, args)
    return args, options


def options_of(named: object) -> EnqueueOptions:
    """Return the options of a job that is enqueued without any, by its name or its task."""
    handler: object = getattr(named, "_handler", None)
    if not isinstance(handler, Handler):
        return AT_ONCE
    # Its cost is known with its arguments.
    found = AT_ONCE.of_type(handler.options)
    return copy(found) if callable(handler.options.cost) else found


def cost_of(handler: Handler, args: Mapping[str, Any] | None) -> int | None:
    """Return what a new job costs; ``None`` for what its type says.

    :raises UsageError: see :func:`cost_for`.
    """
    options = handler.options
    return cost_for(handler.name, options.limits, options.cost, args) if callable(options.cost) else None


def check_rule(handler: Handler) -> None:
    """Check that the rule of a handler's jobs names arguments that it takes.

    :raises UsageError: when it does not take one; the message lists those that it takes.
    """
    rule = handler.options.rule
    if rule is not None:
        check_names(rule, handler)


def check_names(rule: Unique | Debounce | Throttle, handler: Handler) -> None:
    """Check that a rule names arguments that a handler takes.

    :raises UsageError: when it does not take one; the message lists those that it takes.
    """
    for each in () if handler.takes_any else rule.by or ():
        if each not in handler.parameters:
            takes = ", ".join(handler.parameters) or "none"
            raise UsageError(
                f"{type(rule).__name__}(by=…): {handler.name} takes no argument {shown(each)}; it takes {takes}"
                f"{suggestion(each, handler.parameters)}"
            )


def with_defaults(
    rule: Unique | Debounce | Throttle, handler: Handler, args: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """Return the arguments of a job with the defaults of those that a rule names and that are missing.

    So a job that leaves out an argument has the same key as one that is passed its default.

    :raises ArgumentEncodingError: when a default has no JSON.
    """
    given = dict(args or {})
    left_out = [each for each in rule.by or () if each not in given and _has_default(handler, each)]
    if not left_out:  # reading a signature takes longer than enqueueing a job
        return given or None
    defaults = inspect.signature(handler.function).parameters
    return given | bind_some_arguments(handler, (), {each: defaults[each].default for each in left_out})


def _has_default(handler: Handler, name: str) -> bool:
    parameter = handler.parameters.get(name)
    return parameter is not None and not parameter.required


def values_of(
    rule: Unique | Debounce | Throttle, name: str, args: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    """Return the arguments by which a rule distinguishes the jobs of a name; all of them if it names none.

    :raises UsageError: when the job has no such argument; the message lists those that it has.
    """
    if rule.by is None:
        return args
    given = args or {}
    for each in rule.by:
        if each not in given:
            has = ", ".join(map(shown, given)) or "none"
            kind = type(rule).__name__
            raise UsageError(f"{kind}(by=…): argument {shown(each)} of this {name} job is missing; it has {has}")
    return {each: given[each] for each in rule.by}

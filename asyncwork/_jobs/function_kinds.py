"""Kinds of functions: async functions, plain ones that run in a thread, and generators, which cannot be handlers."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from functools import partial
from typing import Any

from ..errors import HandlerError

_NOT_RUN = (
    "has `yield` in it, so a call only makes a generator, and its body would never run: take the `yield` out, or "
    "iterate it in a handler, as in `async for _ in {}(…): pass`"
)


def label_of(function: Callable[..., Any]) -> str:
    """Return how messages name a function."""
    return getattr(function, "__qualname__", None) or repr(function)


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether a call of the function returns an awaitable."""
    function = _without_partials(function)
    if inspect.iscoroutinefunction(function):
        return True
    # Calling a class makes an instance, whatever a call of the instance does.
    return not isinstance(function, type) and inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def check_kind(function: Callable[..., Any]) -> None:
    """Refuse a function whose body would not run when it is called and awaited.

    :raises HandlerError: when it is a generator function or a class; the message says what to register instead.
    """
    label = label_of(function)
    if is_generator(function):
        raise HandlerError(f"{label} {_NOT_RUN.format(label)}")
    if isinstance(function, type):
        if any("__call__" in vars(base) for base in function.__mro__):
            raise HandlerError(
                f"{label} is a class, whose instances can be called: register an instance, as in {label}()"
            )
        raise HandlerError(f"{label} is a class, and a job would only make an instance of it: register a function")


def wraps_generator(function: Callable[..., Any]) -> bool:
    """Return whether a decorated function hides a generator function, which its result alone can show."""
    return is_generator(inspect.unwrap(_without_partials(function)))


def refuse_generator(function: Callable[..., Any], result: object) -> object:
    """Return what a handler returned, unless it is a generator.

    :raises HandlerError: when it is one, because then the job has not run.
    """
    if isinstance(result, (types.GeneratorType, types.AsyncGeneratorType)):
        name = result.__qualname__
        raise HandlerError(f"{label_of(function)} returned a generator: {name} {_NOT_RUN.format(name)}")
    return result


def _without_partials(function: Any) -> Any:
    while isinstance(function, partial):
        function = function.func
    return function


def is_generator(function: Any) -> bool:
    """Return whether calling a function makes a generator, sync or async."""
    function = _without_partials(function)
    if isinstance(function, type):
        return False
    called = (function, getattr(function, "__call__", None))  # noqa: B004
    return any(
        inspect.isasyncgenfunction(each) or (inspect.isgeneratorfunction(each) and not _is_old_coroutine(each))
        for each in called
    )


def _is_old_coroutine(function: Any) -> bool:
    """Return whether ``types.coroutine`` has made this generator function awaitable."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is not None and bool(code.co_flags & inspect.CO_ITERABLE_COROUTINE)

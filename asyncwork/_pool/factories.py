"""Functions that a pool is given to make things with: its resources, and the context of each job."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from types import CoroutineType, UnionType
from typing import Any

from .._jobs.function_kinds import is_async, is_generator, label_of
from .._jobs.printable import shown
from ..errors import UsageError


@dataclass(frozen=True, slots=True)
class ContextFactory:
    """Makes the contexts of a pool's jobs.

    :ivar type: the class of the contexts, by which handlers are matched.
    :ivar make: returns a new context.
    :ivar takes_resources: whether ``make`` takes the value of the pool's resources.
    """

    type: type
    make: Callable[..., Any]
    takes_resources: bool

    @classmethod
    def of(cls, function: object, *, has_resources: bool) -> ContextFactory:
        """Make one of a class, or of a function with a return annotation.

        :param has_resources: whether the pool has resources, whose value the function may take.
        :raises UsageError: when it cannot be called for each job, or the class of its contexts is not known.
        """
        if not callable(function):
            raise UsageError(
                f"context must be a class or a function that makes the context of a job, not {shown(function)}"
            )
        label = label_of(function)
        if _is_never_instantiated(_innermost(function)):
            raise UsageError(
                f"context {label} cannot be instantiated, because it is abstract, a Protocol or an Enum: pass a "
                "class, or a function, that makes the context of a job"
            )
        if is_async(function) or is_generator(function):
            raise UsageError(
                f"context {label} must be a plain function, because it is called for each job: open what has to be "
                "awaited in resources=…, and take their value as its argument"
            )
        takes_resources = _takes_argument(function, f"context {label}", "the value of the resources")
        if takes_resources and not has_resources:
            raise UsageError(
                f"context {label} takes an argument, the value of the pool's resources, and the pool has none: pass "
                "resources=…, or give the argument a default"
            )
        return cls(_class_of(function, label), function, takes_resources)

    def bind(self, resources: object) -> Callable[[], Any]:
        """Return a function without arguments that makes a context while resources with this value are open."""
        return partial(self.make, resources) if self.takes_resources else self.make


class ResourcesFactory:
    """Makes the async context manager that opens and closes the resources of a pool.

    :param function: returns it, given nothing or the pool.
    :raises UsageError: when the function cannot be called so, or its call would return something else.
    """

    def __init__(self, function: object) -> None:
        # A result of @asynccontextmanager is both a manager and callable.
        is_manager = isinstance(function, (AbstractAsyncContextManager, AbstractContextManager)) and not isinstance(
            function, type
        )
        if is_manager or not callable(function):
            hint = ": pass the function, without calling it" if is_manager else ""
            raise UsageError(
                "resources must be a function that returns an async context manager, because each start of the pool "
                f"opens them anew, not {shown(function)}{hint}"
            )
        self._label = label_of(function)
        if is_async(function) or is_generator(function):
            raise UsageError(
                f"resources {self._label} must be decorated with @contextlib.asynccontextmanager, and yield their value"
            )
        self._function: Callable[..., Any] = function
        self._takes_pool = _takes_argument(function, f"resources {self._label}", "the pool")

    def call(self, pool: object) -> object:
        """Call the function; see :meth:`check` for what it returns.

        :raises BaseException: what the function raises.
        """
        return self._function(pool) if self._takes_pool else self._function()

    def check(self, made: object) -> AbstractAsyncContextManager[Any]:
        """Return what the function returned.

        :raises UsageError: when it is not an async context manager.
        """
        if isinstance(made, AbstractAsyncContextManager):
            return made
        if isinstance(made, CoroutineType):
            made.close()  # or Python warns that nothing has awaited it
        raise UsageError(
            f"resources {self._label} must return an async context manager, as a function does that is decorated with "
            f"@contextlib.asynccontextmanager, not {type(made).__name__}: {shown(made)}"
        )


def _is_never_instantiated(kind: object) -> bool:
    """Return whether calling something is known to fail because of the kind of class that it is."""
    if not isinstance(kind, type):
        return False
    return inspect.isabstract(kind) or issubclass(kind, Enum) or getattr(kind, "_is_protocol", False) or kind is Any


def _takes_argument(function: Callable[..., Any], what: str, argument: str) -> bool:
    """Return whether a function is to be called with one argument: whether one of its parameters has no default.

    :param what: what the message calls the function.
    :param argument: what the message calls the argument.
    :raises UsageError: when the function needs more, or needs it by keyword.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some classes that are written in C
        return False
    required = [
        each
        for each in parameters
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    if len(required) > 1 or any(each.kind is each.KEYWORD_ONLY for each in required):
        names = ", ".join(("*, " if each.kind is each.KEYWORD_ONLY else "") + each.name for each in required)
        raise UsageError(f"{what} must take no argument or one, which is {argument}, but it needs ({names})")
    return bool(required)


def _class_of(function: Callable[..., Any], label: str) -> type:
    """Return the class of what a function returns, by its annotation; a class itself.

    :raises UsageError: when it has no such annotation.
    """
    target = _innermost(function)
    if isinstance(target, type):
        return target
    try:
        annotation = inspect.signature(function).return_annotation
    except (TypeError, ValueError):
        annotation = inspect.Signature.empty
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, _names_in(target))  # code of the function's own module
        except Exception as error:
            raise UsageError(
                f"context {label} is annotated to return {shown(annotation)}, which cannot be resolved ({error}): "
                "define or import the class at the top level of its module"
            ) from None
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if annotation is typing.Self:
        owner = getattr(target, "__self__", None)
        annotation = owner if isinstance(owner, type) else type(owner)
    returned = typing.get_origin(annotation) or annotation
    # The origin of a union is a class.
    if isinstance(returned, type) and returned not in (inspect.Signature.empty, object, UnionType):
        return returned
    found = "has no return annotation" if annotation is inspect.Signature.empty else f"returns {shown(annotation)}"
    raise UsageError(
        f"context {label} must be annotated with the class of the contexts that it returns, as in "
        f"`def {getattr(target, '__name__', 'make_context')}(…) -> TheContextClass`, because handlers are matched by "
        f"that class; it {found}"
    )


def _innermost(function: Any) -> Any:
    """Return the function or method that a decorated, partial or callable object calls."""
    function = inspect.unwrap(function)
    while isinstance(function, partial):
        function = inspect.unwrap(function.func)
    return function if hasattr(function, "__globals__") or isinstance(function, type) else function.__call__


def _names_in(function: Any) -> dict[str, Any]:
    """Return the names that a function's annotations may use: those of its module, and of functions around it."""
    names = dict(getattr(function, "__globals__", {}))
    code = getattr(function, "__code__", None)
    for name, cell in zip(code.co_freevars if code else (), getattr(function, "__closure__", None) or (), strict=False):
        try:
            names[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return names

"""Imports the pool or the function that ``module:attribute`` names."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from types import ModuleType, TracebackType
from typing import Any, TypeAlias

from .._jobs.function_kinds import is_async
from ..task import Task
from ..worker_pool import WorkerPool
from .errors import FAILED, AppError

# The files of the first lines of a traceback, which do not help the author of an app.
_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep

# Makes a pool, in the event loop where the pool will run.
PoolMaker: TypeAlias = Callable[[], Awaitable[WorkerPool[Any]]]


def find_pool(name: str) -> WorkerPool[Any] | PoolMaker:
    """Return the pool that ``module:attribute`` names, or that the function of that name returns. If the function is
    async, or returns a coroutine, return a function that awaits it, checks what it returns, and raises the same error.

    :raises AppError: when it cannot be imported, is not a pool, or raises.
    """
    module_name, colon, path = name.partition(":")
    if not colon or not module_name or not path:
        raise AppError(
            f"{name!r} does not name a pool: write module:attribute, such as app:pool for the `pool` of app.py"
        )
    module = _import(module_name)
    return _as_pool(name, module, _look_up(name, module, path))


def find_function(name: str) -> Callable[..., Any]:
    """Return the function that ``module:attribute`` names.

    :raises AppError: when it cannot be imported, is not a function, or is async.
    """
    module_name, colon, path = name.partition(":")
    if not colon or not module_name or not path:
        raise AppError(
            f"{name!r} does not name a function: write module:function, such as app:redact for the `redact` of app.py"
        )
    found: object = _import(module_name)
    for step in path.split("."):
        try:
            found = getattr(found, step)
        except Exception as error:
            raise AppError(f"{name} cannot be loaded: {_describe(error)}") from None
    if not callable(found):
        raise AppError(f"{name} is {_a(found)}, not a function")
    if inspect.iscoroutinefunction(found):
        raise AppError(f"{name} is an async function: define it with a plain `def`")
    return found


def _import(name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    if "/" in name or name.startswith("."):
        raise AppError(_path_instead_of_module(name))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # The missing module may be a parent package of this one. Any other missing module is an import of the app.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _import_error(name, error) from None
        if name.endswith(".py"):
            raise AppError(_path_instead_of_module(name)) from None
        raise AppError(
            f"there is no module {name!r} ({error}). The first directory searched was {here}: "
            "check the name, and run the command in the directory of your project"
        ) from None
    except (Exception, SystemExit) as error:
        raise _import_error(name, error) from None


def _path_instead_of_module(name: str) -> str:
    parts = [part.strip(".") for part in name.removesuffix(".py").split("/")]
    likely = ".".join(filter(None, parts))
    return f"{name!r} is a path: write the name of the module instead, such as {likely}"


def _import_error(name: str, error: BaseException) -> AppError:
    return AppError(f"module {name!r} cannot be imported: {_describe(error)}", app_trace(error))


def _look_up(name: str, module: ModuleType, path: str) -> object:
    found: object = module
    reached = module.__name__
    for step in path.split("."):
        try:
            found = getattr(found, step)
        except AttributeError:
            # Like hasattr, this does not distinguish a missing name from an AttributeError within a property.
            what = f"module {reached!r}" if found is module else f"{reached} ({_a(found)})"
            raise AppError(f"{what} has no attribute {step!r}. {_list_pools(module)}") from None
        except Exception as error:
            raise AppError(f"{name} cannot be loaded: {_describe(error)}", app_trace(error)) from None
        reached += (":" if reached == module.__name__ else ".") + step
    return found


def _as_pool(name: str, module: ModuleType, found: object) -> WorkerPool[Any] | PoolMaker:
    if isinstance(found, WorkerPool):
        return found
    # A handler is callable too, and calling it would run the job.
    if not callable(found) or isinstance(found, Task):
        raise AppError(f"{name} is {_a(found)}, not a WorkerPool. {_list_pools(module)}")
    if required := _required_arguments(found):
        raise AppError(
            f"{name} needs arguments ({required}), but a function that returns a pool is called without any. "
            f"{_list_pools(module)}"
        )

    async def make(making: Awaitable[object] | None = None) -> WorkerPool[Any]:
        # Ctrl-C does not raise KeyboardInterrupt here: while an event loop runs, the command handles the signal.
        with _factory_errors(name, KeyboardInterrupt):
            made = await (found() if making is None else making)
        return _check_made(name, module, made)

    if is_async(found):
        return make
    with _factory_errors(name):
        made = found()
    return partial(make, made) if inspect.iscoroutine(made) else _check_made(name, module, made)


def _required_arguments(function: Callable[..., Any]) -> str:
    """Return the names of the arguments that a function cannot be called without."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # it is written in C
        return ""
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return ", ".join(each.name for each in parameters if each.default is each.empty and each.kind not in optional)


@contextlib.contextmanager
def _factory_errors(name: str, *more: type[BaseException]) -> Iterator[None]:
    kinds: tuple[type[BaseException], ...] = (Exception, SystemExit, BaseExceptionGroup, *more)
    try:
        yield
    except kinds as error:
        raise factory_error(name, error) from None


def factory_error(name: str, error: BaseException) -> AppError:
    """Return the error for a function that raised an error instead of returning a pool.

    :param name: the function's name on the command line.
    """
    return AppError(f"{name}() did not return a pool: {_describe(error)}", app_trace(error), code=FAILED)


def _check_made(name: str, module: ModuleType, made: object) -> WorkerPool[Any]:
    if not isinstance(made, WorkerPool):
        raise AppError(f"{name}() returned {_a(made)}, not a WorkerPool. {_list_pools(module)}")
    if made.id is not None:
        raise AppError(f"{name}() returned a pool that runs: return it without starting it, because the command does")
    return made


def _list_pools(module: ModuleType) -> str:
    names = [f"{module.__name__}:{name}" for name, value in vars(module).items() if isinstance(value, WorkerPool)]
    if names:
        return f"It has {'this pool' if len(names) == 1 else 'these pools'}: {', '.join(names)}"
    return f"Module {module.__name__} has no pool: create one with `pool = WorkerPool(…)`"


def _a(value: object) -> str:
    if value is None:
        return "None"
    kind = type(value).__name__
    return f"an {kind}" if kind[:1] in "AEIOaeio" else f"a {kind}"


def _describe(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def app_trace(error: BaseException) -> str:
    """Return the traceback of an error, beginning with the first line of the app."""
    app: TracebackType | None = error.__traceback__
    while app is not None and _is_ours(app):
        app = app.tb_next
    return "".join(traceback.format_exception(type(error), error, app))


def _is_ours(step: TracebackType) -> bool:
    file = step.tb_frame.f_code.co_filename
    return file.startswith((_OURS, "<frozen importlib.")) or file in (importlib.__file__, contextlib.__file__)

"""Finds the pool that ``module:attribute`` names."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import Any

from ..errors import UsageError
from ..task import Task
from ..worker_pool import WorkerPool


class AppError(UsageError):
    """There is no pool to be had by that name; the message says why, and what would be one.

    :ivar trace: the traceback of what the app itself has raised, or empty.
    """

    def __init__(self, message: str, cause: BaseException | None = None) -> None:
        super().__init__(message)
        self.trace = "" if cause is None else _trace(cause)


def find_pool(name: str) -> WorkerPool[Any]:
    """Return the pool that ``module:attribute`` names, or that the function of that name returns.

    :raises AppError: when there is none.
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

    :raises AppError: when there is none, or it is async.
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
            raise AppError(f"{name} cannot be looked up: {_described(error)}") from None
    if not callable(found):
        raise AppError(f"{name} is {_a(found)}, no function")
    if inspect.iscoroutinefunction(found):
        raise AppError(f"{name} is an async function; a plain `def` is needed")
    return found


def _import(name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    if "/" in name or name.startswith("."):
        raise AppError(_a_path(name))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # A parent package may be what is missing. Any other name is of something that the module imports.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _failed(name, error) from None
        if name.endswith(".py"):
            raise AppError(_a_path(name)) from None
        raise AppError(
            f"there is no module {name!r} ({error}). It was looked for in {here} first: is the name right, "
            "and is this the project's directory?"
        ) from None
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from None


def _a_path(name: str) -> str:
    parts = [part.strip(".") for part in name.removesuffix(".py").split("/")]
    likely = ".".join(filter(None, parts))
    return f"{name!r} is a path, and the name of a module is needed, such as {likely}"


def _failed(name: str, error: BaseException) -> AppError:
    return AppError(f"module {name!r} cannot be imported: {_described(error)}", error)


def _look_up(name: str, module: ModuleType, path: str) -> object:
    found: object = module
    reached = module.__name__
    for step in path.split("."):
        try:
            found = getattr(found, step)
        except AttributeError:
            # How hasattr sees it: an error within a property is not told from a name that is not there.
            what = f"module {reached!r}" if found is module else f"{reached} ({_a(found)})"
            raise AppError(f"{what} has no attribute {step!r}. {_pools(module)}") from None
        except Exception as error:
            raise AppError(f"{name} cannot be looked up: {_described(error)}", error) from None
        reached += (":" if reached == module.__name__ else ".") + step
    return found


def _as_pool(name: str, module: ModuleType, found: object) -> WorkerPool[Any]:
    if isinstance(found, WorkerPool):
        return found
    # A handler can be called, too, and that would run it.
    if not callable(found) or isinstance(found, Task):
        raise AppError(f"{name} is {_a(found)}, no WorkerPool. {_pools(module)}")
    if inspect.iscoroutinefunction(found):
        raise AppError(f"{name} is an async function; one that returns a pool must be a plain `def`. {_pools(module)}")
    try:
        made = found()
    except (Exception, SystemExit) as error:
        raise AppError(f"{name}() did not return a pool: {_described(error)}", error) from None
    if not isinstance(made, WorkerPool):
        raise AppError(f"{name}() returned {_a(made)}, no WorkerPool. {_pools(module)}")
    return made


def _pools(module: ModuleType) -> str:
    names = [f"{module.__name__}:{name}" for name, value in vars(module).items() if isinstance(value, WorkerPool)]
    if names:
        return f"It has {'this pool' if len(names) == 1 else 'these pools'}: {', '.join(names)}"
    return f"There is no pool in {module.__name__} at all; one is made by `pool = WorkerPool(…)`"


def _a(value: object) -> str:
    if value is None:
        return "None"
    kind = type(value).__name__
    return f"an {kind}" if kind[:1] in "AEIOaeio" else f"a {kind}"


def _described(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _trace(error: BaseException) -> str:
    """Return the traceback of an error, from the first line on that is the app's."""
    app: TracebackType | None = error.__traceback__
    while app is not None and _is_ours(app):
        app = app.tb_next
    return "".join(traceback.format_exception(type(error), error, app))


def _is_ours(step: TracebackType) -> bool:
    file = step.tb_frame.f_code.co_filename
    return file in (__file__, importlib.__file__) or file.startswith("<frozen importlib.")

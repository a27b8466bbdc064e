"""Imports the pool or the function that ``module:attribute`` names."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import Any

from ..task import Task
from ..worker_pool import WorkerPool
from .errors import AppError


def find_pool(name: str) -> WorkerPool[Any]:
    """Return the pool that ``module:attribute`` names, or that the function of that name returns.

    :raises AppError: when it cannot be imported, or is not a pool.
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
    return AppError(f"module {name!r} cannot be imported: {_describe(error)}", _app_trace(error))


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
            raise AppError(f"{name} cannot be loaded: {_describe(error)}", _app_trace(error)) from None
        reached += (":" if reached == module.__name__ else ".") + step
    return found


def _as_pool(name: str, module: ModuleType, found: object) -> WorkerPool[Any]:
    if isinstance(found, WorkerPool):
        return found
    # A handler is callable too, and calling it would run the job.
    if not callable(found) or isinstance(found, Task):
        raise AppError(f"{name} is {_a(found)}, not a WorkerPool. {_list_pools(module)}")
    if inspect.iscoroutinefunction(found):
        raise AppError(
            f"{name} is an async function: define the function that returns a pool with a plain `def`. "
            f"{_list_pools(module)}"
        )
    try:
        made = found()
    except (Exception, SystemExit) as error:
        raise AppError(f"{name}() did not return a pool: {_describe(error)}", _app_trace(error)) from None
    if not isinstance(made, WorkerPool):
        raise AppError(f"{name}() returned {_a(made)}, not a WorkerPool. {_list_pools(module)}")
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


def _app_trace(error: BaseException) -> str:
    """Return the traceback of an error, beginning with the first line of the app."""
    app: TracebackType | None = error.__traceback__
    while app is not None and _is_ours(app):
        app = app.tb_next
    return "".join(traceback.format_exception(type(error), error, app))


def _is_ours(step: TracebackType) -> bool:
    file = step.tb_frame.f_code.co_filename
    return file in (__file__, importlib.__file__) or file.startswith("<frozen importlib.")

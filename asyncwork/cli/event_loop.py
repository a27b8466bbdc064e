"""The option ``--loop`` of ``asyncwork run``: the event loop on which a pool runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.util import find_spec

from .. import _environment
from .._jobs.printable import shown
from ..errors import UsageError
from .settings import choose
from .usage.loop_option import LOOPS


def choose_loop(given: str | None) -> str:
    """Return the event loop of the option, else of the environment, else ``auto``.

    :raises UsageError: when there is no such loop, or it is not installed.
    """
    return choose("--loop", given, _environment.LOOP, check_loop) or "auto"


def check_loop(text: str) -> str:
    """Check an event loop, and return it.

    :raises UsageError: when there is no such loop, or it is not installed.
    """
    if text not in LOOPS:
        raise UsageError(f"the event loop must be one of {', '.join(LOOPS)}, not {shown(text)}")
    if text == "uvloop" and find_spec("uvloop") is None:
        raise UsageError("uvloop is not installed: pip install 'asyncwork[uvloop]', or use auto or asyncio")
    return text


def loop_factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the factory of an event loop; ``None`` for asyncio's own.

    :param loop: one of :data:`LOOPS`; ``auto`` takes uvloop if it can be imported.
    :raises ImportError: when uvloop is wanted and cannot be imported.
    """
    if loop == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        if loop == "uvloop":
            raise
        return None
    return uvloop.new_event_loop


def name_of(loop: asyncio.AbstractEventLoop) -> str:
    """Return the name of an event loop, for the log: ``asyncio``, ``uvloop``, or the package of another one."""
    return type(loop).__module__.partition(".")[0]

"""A benchmark process: the producer or the worker of one side."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
from importlib import import_module

from ..orders import Case, receive, reply
from ..sending import make_trips, send
from ..working import work

# Seconds after which the process prints its stack, shortly before it is killed.
_TIMEOUT = 290.0


def runner(case: Case) -> asyncio.Runner:
    """Return a runner with the case's event loop."""
    if not case.uvloop:
        return asyncio.Runner()
    import uvloop

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def main() -> None:
    """Read an order and carry it out."""
    faulthandler.dump_traceback_later(_TIMEOUT)
    order = receive()
    side = import_module(f"{__package__}.{sys.argv[1]}")
    with runner(order.case) as loop:
        if order.what in {"fill", "trickle", "crowd", "flow"}:
            reply(loop.run(send(order, side.sending)))
        elif order.what == "trips":
            reply(loop.run(make_trips(order, side.sending)))
        elif order.what == "waiters":
            reply(loop.run(side.hold_waiters(order)))
        else:
            loop.run(work(order, side.running))
        # Some libraries leave tasks that do not end when they are cancelled.
        os._exit(0)


if __name__ == "__main__":
    main()

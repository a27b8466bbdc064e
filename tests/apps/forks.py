"""A pool for ``test_cli.py`` whose jobs fork processes."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
import time
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess

from asyncwork import WorkerPool

log = logging.getLogger("forks")
pool = WorkerPool()
fork = multiprocessing.get_context("fork")


def terminate_one() -> None:
    # At once, while it may still be about to begin, and later, while it runs.
    for delay in (0.0, 0.0, 0.1):
        child = fork.Process(target=time.sleep, args=(600,))
        child.start()
        time.sleep(delay)
        child.terminate()
        log.info("ended by %s", exit_code(child))
        child.kill()


def exit_code(child: ForkProcess) -> int | None:
    child.join(10)
    # If another thread starts a process now, multiprocessing reaps this one there, and join() returns before the exit
    # code is known.
    until = time.monotonic() + 10
    while child.exitcode is None and time.monotonic() < until:
        time.sleep(0.01)
    return child.exitcode


@pool.job
async def terminate() -> None:
    terminate_one()


@pool.job
def terminate_in_thread() -> None:
    terminate_one()


@pool.job
def use_a_pool() -> None:
    for _ in range(2):
        with fork.Pool(2) as workers:
            log.info("computed %s", workers.map(abs, [-1, -2]))


@pool.job
async def tell_handlers() -> None:
    ours, theirs = fork.Pipe()
    child = fork.Process(target=tell, args=(theirs,))
    child.start()
    log.info("handlers: %s", ours.recv())
    child.join()
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    log.info("mask: %s, ours: %s", set(signal.pthread_sigmask(signal.SIG_BLOCK, ())), len(set(before)))


def tell(theirs: Connection) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)
    usual = (signal.SIG_DFL, signal.default_int_handler)
    told = [f"{number.name} {'as usual' if signal.getsignal(number) in usual else 'ours'}" for number in numbers]
    told.append(f"wakeup {signal.set_wakeup_fd(-1)}")
    told.append(f"mask {set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))}")
    # Its own are its own affair, and that of those which it forks.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    grandchild = fork.Process(target=threading.Event().wait, args=(0.3,))
    grandchild.start()
    grandchild.terminate()
    grandchild.join()
    told.append(f"grandchild {grandchild.exitcode}")
    theirs.send(", ".join(told))

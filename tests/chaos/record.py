"""What the workers of a chaos run really did, written so that it survives their being killed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncwork import Job, Snooze

# How an attempt ends. One that was cancelled was cut off at a stop, or its handler did that.
DONE, FAILED, SNOOZED, CANCELLED = "done", "failed", "snoozed", "cancelled"

# Seconds between two looks at whether a process, or an event loop, goes on.
LOOK = 0.05
# Seconds for which one must have stood still for that to be recorded.
LEAST_HOLD = 0.2
# The arguments that are recorded.
_KEPT = ("number", "slot", "kind")


@dataclass(slots=True)
class Run:
    """One attempt of a job.

    :ivar pid: of the process it ran in.
    :ivar number: the producer's number of the job, by which an enqueue is known whose answer was lost; 0 without.
    :ivar kind: what the job is to do, of those whose name alone does not tell; empty otherwise.
    :ivar slot: what keeps it unique, where it is; empty otherwise.
    :ivar fails: how many attempts had failed before.
    :ivar began: the system's monotonic clock, as all processes have it, seconds.
    :ivar ended: the same; ``None`` when it did not come to its end.
    :ivar outcome: how it ended; empty when it did not.
    """

    pid: int
    name: str
    job_id: str
    fails: int
    began: float
    number: int = 0
    slot: str = ""
    ended: float | None = None
    outcome: str = ""
    kind: str = ""


@dataclass(slots=True)
class Hold:
    """A time in which a process did not run at all: it was stopped, or others had the processor.

    :ivar began: the system's monotonic clock, seconds; up to :data:`LOOK` before it was held.
    :ivar ended: the same; when it ran again.
    """

    pid: int
    began: float
    ended: float


@dataclass(slots=True)
class Record:
    """What was recorded, each in the order in which it began."""

    runs: list[Run]
    holds: list[Hold]


class Recorder:
    """Writes a line for each begin, end and hold. A line is one write: it is there as a whole, or not at all."""

    def __init__(self, directory: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(directory / f"{os.getpid()}.jsonl", flags, 0o600)
        self._count = 0
        threading.Thread(target=self._watch, name="chaos watch", daemon=True).start()

    async def run(self, job: Job, call: Callable[[], Awaitable[object]]) -> object:
        """Run an attempt and record it. What is raised is recorded by its type alone, and raised."""
        self._count += 1
        count, args = self._count, job.args
        began = {"name": job.name, "job_id": job.id, **{name: args[name] for name in _KEPT if name in args}}
        self._write({"run": count, "fails": job.fails, **began})
        try:
            result = await call()
        except BaseException as error:
            self._write({"run": count, "outcome": _outcome(type(error))})
            raise
        self._write({"run": count, "outcome": DONE})
        return result

    def _watch(self) -> None:
        """Record for ever when this process did not run."""
        while True:
            began = time.monotonic()
            time.sleep(LOOK)
            if time.monotonic() - began > LOOK + LEAST_HOLD:
                self._write({"held_since": began})

    def _write(self, fields: dict[str, Any]) -> None:
        os.write(self._file, json.dumps({**fields, "at": time.monotonic()}).encode() + b"\n")


def readable(job_id: str) -> str:
    """Return an id as Go and asyncwork read it: U+FFFD stands for each half of a character."""
    return re.sub("[\ud800-\udfff]", "\ufffd", job_id)


def _outcome(kind: type[BaseException]) -> str:
    if kind is Snooze:
        return SNOOZED
    return CANCELLED if issubclass(kind, asyncio.CancelledError) else FAILED


def read(directory: Path) -> Record:
    """Return what was recorded in a directory."""
    found = Record([], [])
    for path in directory.glob("*.jsonl"):
        runs: dict[int, Run] = {}
        pid = int(path.stem)
        for line in path.read_text().splitlines():
            fields = json.loads(line)
            at = fields.pop("at")
            if "held_since" in fields:
                found.holds.append(Hold(pid, fields["held_since"], at))
                continue
            count = fields.pop("run")
            if "outcome" in fields:
                runs[count].ended, runs[count].outcome = at, fields["outcome"]
            else:
                fields["job_id"] = readable(fields["job_id"])
                runs[count] = Run(pid=pid, began=at, **fields)
        found.runs += runs.values()
    found.runs.sort(key=lambda run: run.began)
    found.holds.sort(key=lambda hold: hold.began)
    return found

"""The record of what the workers of a chaos run did, written so that a killed worker loses none of it."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asyncwork import CrashedError, Job, RateLimited, Snooze
from asyncwork._jobs.step_waits import Deferred

# How an attempt ends. One that was cancelled was cut off at a stop, or its handler did that.
DONE, FAILED, SNOOZED, LIMITED, CANCELLED = "done", "failed", "snoozed", "rate limited", "cancelled"
# The hooks of the pool.
ON_FAILURE, ON_DEAD = "on_failure", "on_dead"

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
class HookCall:
    """A call of a hook.

    :ivar hook: :data:`ON_FAILURE` or :data:`ON_DEAD`.
    :ivar fails: how many attempts of the job had failed, with the one that the hook was called for.
    :ivar crashed: whether the job failed because its processes died.
    """

    pid: int
    hook: str
    job_id: str
    fails: int
    crashed: bool = False


@dataclass(slots=True)
class Opening:
    """A time in which the resources of a pool were open.

    :ivar began: the system's monotonic clock, seconds.
    :ivar ended: the same; ``None`` when they were not closed.
    """

    pid: int
    began: float
    ended: float | None = None


@dataclass(slots=True)
class Record:
    """What was recorded, each in the order in which it began."""

    runs: list[Run] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    hook_calls: list[HookCall] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)


class Recorder:
    """Writes a line for each begin, end, hold, call of a hook, and change of the resources. A line is one write: it is
    there as a whole, or not at all.
    """

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
            self._write({"run": count, "outcome": _outcome(error)})
            raise
        self._write({"run": count, "outcome": DONE})
        return result

    def hook(self, hook: str, job: Job, error: BaseException) -> None:
        """Record that a hook was called."""
        crashed = type(error) is CrashedError  # of another error, nothing may be readable
        self._write({"hook": hook, "job_id": job.id, "fails": job.fails, "crashed": crashed})

    def resources(self, *, opened: bool) -> None:
        """Record that the resources of the pool are open, or closed."""
        self._write({"opened": opened})

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


def _outcome(error: BaseException) -> str:
    # By its type, because nothing may be readable of another error. A snooze that has no end counts as a failure.
    if (type(error) is Snooze and math.isfinite(error.seconds)) or type(error) is Deferred:
        return SNOOZED
    if type(error) is RateLimited:
        return LIMITED
    return CANCELLED if issubclass(type(error), asyncio.CancelledError) else FAILED


def read(directory: Path) -> Record:
    """Return what was recorded in a directory."""
    found = Record()
    for path in directory.glob("*.jsonl"):
        runs: dict[int, Run] = {}
        pid = int(path.stem)
        for line in path.read_text().splitlines():
            fields = json.loads(line)
            at = fields.pop("at")
            if "held_since" in fields:
                found.holds.append(Hold(pid, fields["held_since"], at))
                continue
            if "opened" in fields:
                if fields["opened"]:
                    found.openings.append(Opening(pid, at))
                else:
                    found.openings[-1].ended = at
                continue
            if "job_id" in fields:
                fields["job_id"] = readable(fields["job_id"])
            if "hook" in fields:
                found.hook_calls.append(HookCall(pid, **fields))
                continue
            count = fields.pop("run")
            if "outcome" in fields:
                runs[count].ended, runs[count].outcome = at, fields["outcome"]
            else:
                runs[count] = Run(pid=pid, began=at, **fields)
        found.runs += runs.values()
    found.runs.sort(key=lambda run: run.began)
    found.holds.sort(key=lambda hold: hold.began)
    return found

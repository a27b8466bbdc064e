"""What the workers of a chaos run really did, written so that it survives their being killed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncwork import Job

# What a handler makes of an attempt, beside raising something else.
DONE, FAILED, SNOOZED = "done", "failed", "snoozed"


@dataclass(slots=True)
class Run:
    """One attempt of a job.

    :ivar pid: of the process it ran in.
    :ivar number: the producer's number of the job, by which an enqueue is known whose answer was lost; 0 without.
    :ivar slot: what keeps it unique, where it is; empty otherwise.
    :ivar fails: how many attempts had failed before.
    :ivar began: the system's monotonic clock, as all processes have it, seconds.
    :ivar ended: the same; ``None`` when it did not come to its end.
    :ivar outcome: how it ended; empty when it did not.
    """

    pid: int
    name: str
    job_id: str
    number: int
    slot: str
    fails: int
    began: float
    ended: float | None = None
    outcome: str = ""


class Recorder:
    """Writes a line for each begin and end. A line is one write: it is there as a whole, or not at all."""

    def __init__(self, directory: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(directory / f"{os.getpid()}.jsonl", flags, 0o600)
        self._count = 0

    @contextmanager
    def running(self, job: Job) -> Iterator[None]:
        """Record an attempt. What is raised is recorded by its type, and raised."""
        self._count += 1
        count, args = self._count, job.args
        began = {"name": job.name, "job_id": job.id, "number": args.get("number", 0), "slot": args.get("slot", "")}
        self._write({"run": count, "fails": job.fails, **began})
        try:
            yield
        except Exception as error:
            self._write({"run": count, "outcome": SNOOZED if type(error).__name__ == "Snooze" else FAILED})
            raise
        self._write({"run": count, "outcome": DONE})

    def _write(self, fields: dict[str, Any]) -> None:
        os.write(self._file, json.dumps({**fields, "at": time.monotonic()}).encode() + b"\n")


def read(directory: Path) -> list[Run]:
    """Return all attempts that were recorded in a directory, in the order in which they began."""
    found: list[Run] = []
    for path in directory.glob("*.jsonl"):
        runs: dict[int, Run] = {}
        for line in path.read_text().splitlines():
            fields = json.loads(line)
            count, at = fields.pop("run"), fields.pop("at")
            if "outcome" in fields:
                runs[count].ended, runs[count].outcome = at, fields["outcome"]
            else:
                runs[count] = Run(pid=int(path.stem), began=at, **fields)
        found += runs.values()
    return sorted(found, key=lambda run: run.began)

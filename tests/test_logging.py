"""The public log formatters, and the guard around log handlers."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import re
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from asyncwork import Job, JobLogFilter
from asyncwork.logging import LOGGER_NAMES, JsonFormatter, TextFormatter, _Guarded

from .conftest import Bench

ROOT = Path(__file__).parents[1]


def test_a_terminal_gets_colours_and_no_dates(monkeypatch: pytest.MonkeyPatch) -> None:
    record = logging.LogRecord("shop", logging.WARNING, "", 0, "hello", None, None)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    line = TextFormatter(terminal=True).format(record)
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} \x1b\[33mWARN \x1b\[0m shop  hello", line)
    monkeypatch.setenv("NO_COLOR", "1")
    line = TextFormatter(terminal=True).format(record)
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} WARN  shop  hello", line)


def test_what_cannot_be_written_is_written_as_text() -> None:
    class Nameless:
        def __str__(self) -> str:
            raise RuntimeError("no name")

    endless: list[Any] = []
    endless.append(endless)
    record = logging.LogRecord("shop", logging.INFO, "", 0, "hello", None, None)
    vars(record).update(thing=Nameless(), endless=endless, when={1: 2}, path=Path("/a"))
    assert json.loads(JsonFormatter().format(record))["endless"] == "[[...]]"
    del record.endless  # type: ignore[attr-defined]
    written = json.loads(JsonFormatter().format(record))
    assert (written["thing"], written["when"], written["path"]) == ("<Nameless>", {"1": 2}, "/a")
    assert "thing=<Nameless>" in TextFormatter(terminal=False).format(record)


def test_a_field_does_not_take_the_place_of_ours() -> None:
    record = logging.LogRecord("shop", logging.INFO, "", 0, "hello", None, None)
    vars(record).update(level="mine", logger="mine", job_name="note", job_id="1")
    written = json.loads(JsonFormatter().format(record))
    assert (written["level"], written["logger"], written["job_name"]) == ("INFO", "shop", "note")


def test_every_logger_is_guarded() -> None:
    made = set()
    for path in (ROOT / "asyncwork").rglob("*.py"):
        made |= set(re.findall(r'getLogger\("(asyncwork[^"]*)"\)', path.read_text()))
    assert made == set(LOGGER_NAMES)


def test_a_log_handler_that_raises_is_reported_once_and_lines_keep_their_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Breaks(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            locations.append(record.funcName)
            raise SystemExit("a log handler")

    locations: list[str] = []
    logger, handler = logging.getLogger("asyncwork.web"), Breaks()
    logger.addHandler(handler)
    _Guarded.reported = False
    try:
        for n in (1, 2):
            logger.warning("line %d", n)
    finally:
        logger.removeHandler(handler)
    assert locations == ["test_a_log_handler_that_raises_is_reported_once_and_lines_keep_their_place"] * 2
    why = "a log handler or filter failed (SystemExit: a log handler)"
    report = f"asyncwork: {why}, and log lines are lost. This is reported once. Lost: line 1"
    assert capsys.readouterr().err.splitlines() == [report]


def fields_of(record: logging.LogRecord) -> tuple[str, str]:
    """Return what a line says of its job, through the filter that programs add to their log handlers."""
    assert JobLogFilter().filter(record)
    return vars(record)["job_name"], vars(record)["job_id"]


def test_the_lines_of_a_jobs_logger_name_it_outside_of_a_running_job(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asyncwork.job")
    job = Job.decode(b'{"name":"wat","id":"7","t":1,"args":{"n":1}}')
    job.log.info("row %d", 3, extra={"customer": 5, "job_id": "not mine"})
    job.log.warning("no extra")
    thread = threading.Thread(target=job.log.error, args=("in a thread",))
    thread.start()
    thread.join()
    assert job.log is job.log
    first, *_ = records = caplog.records
    assert [each.getMessage() for each in records] == ["row 3", "no extra", "in a thread"]
    assert [fields_of(each) for each in records] == [("wat", "7")] * 3
    assert {each.name for each in records} == {"asyncwork.job"}
    assert vars(first)["customer"] == 5
    assert first.funcName == "test_the_lines_of_a_jobs_logger_name_it_outside_of_a_running_job"
    fields = json.loads(JsonFormatter().format(first))
    assert (fields["job_name"], fields["job_id"], fields["customer"]) == ("wat", "7", 5)


def test_a_job_that_logged_is_freed_at_once() -> None:
    job = Job.decode(b'{"name":"wat","id":"7","t":1,"args":{"n":1}}')
    assert not hasattr(job, "_log")
    log, references = job.log, sys.getrefcount(job)
    del log
    assert sys.getrefcount(job) == references
    assert job not in gc.get_referents(job.log)


async def test_the_lines_of_running_jobs_name_their_own(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asyncwork.job")
    pool = bench.pool(concurrency=3)

    @pool.job
    async def awaits(job: Job) -> None:
        await asyncio.sleep(0.001)
        job.log.info("here")
        await asyncio.to_thread(job.log.info, "in a thread")

    @pool.job
    def threaded(job: Job) -> None:
        job.log.info("here")

    jobs = await bench.enqueuer.enqueue_many([(task, None) for task in (awaits, threaded) for _ in range(5)])
    async with pool.running():
        await pool.drain()
    logged = Counter(fields_of(each) for each in caplog.records)
    assert logged == {(job.name, job.id): 2 if job.name == "awaits" else 1 for job in jobs}

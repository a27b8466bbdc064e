"""The public log formatters, and the guard around log handlers."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from asyncwork.logging import LOGGER_NAMES, JsonFormatter, TextFormatter, _Guarded

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

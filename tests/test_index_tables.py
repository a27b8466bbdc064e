"""The tables that lead a reader to an option, an error, or the reason why a job waits are complete."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import fields

import pytest

import asyncwork
from asyncwork import JobOptions
from asyncwork._admin import waiting_reason

from .architecture import ROOT

DOCS = ROOT / "docs"

pytestmark = pytest.mark.unit


def rows(document: str, heading: str) -> list[list[str]]:
    """Return the cells of the rows of the first table below a heading."""
    section = (DOCS / document).read_text(encoding="utf-8").split(f"\n{heading}\n", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table is not None
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table[0].splitlines()[2:]]


def test_each_option_of_a_job_type_is_listed_with_its_default() -> None:
    listed: dict[str, str] = {}
    for option, default, _ in rows("options.md", "## Options of a job type"):
        names = re.findall(r"`(\w+)`", option)
        defaults = default.split(", ") if len(names) == 2 else [default] * len(names)
        listed |= dict(zip(names, defaults, strict=True))
    assert set(listed) == {each.name for each in fields(JobOptions)}
    for each in fields(JobOptions):
        if isinstance(each.default, int) and not isinstance(each.default, bool) and listed[each.name] != "none":
            assert listed[each.name] == str(each.default), each.name


def test_each_error_is_listed_with_what_to_do() -> None:
    listed = [name for row in rows("reference/errors.md", "## Which error, and what to do") for name in named(row[1])]
    errors = {
        name
        for name in asyncwork.__all__
        if isinstance(each := getattr(asyncwork, name), type)
        and issubclass(each, BaseException)
        and each.__module__ == "asyncwork.errors"
    }
    assert len(listed) == len(set(listed))
    assert set(listed) == errors - {"AsyncworkError"}


def named(cell: str) -> list[str]:
    return re.findall(r"\(#asyncwork\.(\w+)\)", cell)


def test_each_reason_why_a_job_waits_is_listed() -> None:
    table = "\n".join(row[0] for row in rows("operations.md", "## One job"))
    source = ast.parse(inspect.getsource(waiting_reason))
    texts = [each.value for each in ast.walk(source) if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    reasons = [
        text.strip(" ,:(")
        for text in texts
        if re.match(r"(it|its tenant|the queue|the rate|the jobs|limit|no pool) ", text)
    ]
    assert len(reasons) > 15
    assert not [reason for reason in reasons if reason not in table]

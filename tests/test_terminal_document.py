"""docs/terminal.md and the help texts: they name what is there, and their examples are valid."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator

import pytest

from asyncwork.cli.parser import make_parser
from asyncwork.cli.snapshot import QUEUE_COLUMNS
from asyncwork.cli.usage import completion, deletions, jobs, periodic, queues, unique

from .architecture import ROOT

TEXT = (ROOT / "docs" / "terminal.md").read_text(encoding="utf-8")
COMMANDS: dict[str, argparse.ArgumentParser] = next(
    dict(action.choices) for action in make_parser()[0]._actions if isinstance(action, argparse._SubParsersAction)
)
DOCUMENTED_HERE = ("stats", "top", "queues", "jobs", "periodic", "unique", "deletions", "completion")


def examples(text: str) -> Iterator[str]:
    """Yield the commands in a text, without what a shell would make of the rest of the line."""
    for line in re.findall(r"^(?:  |source <\()?(asyncwork .*)$", text, re.MULTILINE):
        command = re.split(r"\s{2,}|\s\||\s>|\)\s", line)[0]
        if "…" not in command.split("'")[0]:
            yield command.strip()


def blocks() -> str:
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))


def test_the_document_names_each_command() -> None:
    assert not [name for name in COMMANDS if not re.search(rf"^\| \[`{name}`\]", TEXT, re.MULTILINE)]


@pytest.mark.parametrize("command", DOCUMENTED_HERE)
def test_the_document_names_each_option_and_verb(command: str) -> None:
    section = TEXT.partition(f"\n## {command}\n")[2].partition("\n## ")[0]
    common = TEXT.partition("\n## What they have in common\n")[2].partition("\n## ")[0]
    names = [
        name
        for action in COMMANDS[command]._actions
        if action.help != argparse.SUPPRESS
        for name in action.option_strings[-1:]
    ]
    usage = {
        "queues": queues.VERBS,
        "periodic": periodic.VERBS,
        "jobs": jobs.VERBS,
        "deletions": deletions.VERBS,
        "unique": unique.VERBS,
        "completion": completion.SHELLS,
    }
    verbs = [f" {verb}" for verb in usage.get(command, ()) if verb != "ls"]
    missing = [each for each in (*names, *verbs) if each not in section + common]
    # These are named as `-n` and in the introduction.
    assert not {*missing} - {"--help", "--namespace"}
    if command == "jobs":
        assert not [location for location in jobs.LOCATIONS if f"| `{location}` |" not in section]
    if command == "stats":
        shown = [column.title for column, _, _ in QUEUE_COLUMNS[4:7]]
        assert not [title for title in shown if f"`{title}`" not in section]


def check(example: str) -> None:
    words = shlex.split(example, comments=False)
    assert words[0] == "asyncwork"
    make_parser()[0].parse_args(words[1:])


@pytest.mark.parametrize("example", sorted(set(examples(blocks()))))
def test_an_example_of_the_document_is_valid(example: str) -> None:
    check(example)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_of_a_help_text_are_valid(command: str) -> None:
    epilog = COMMANDS[command].epilog or ""
    found = list(examples(epilog.partition("examples:")[2]))
    assert found
    for example in found:
        check(example)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_help_text_has_exit_codes_and_fits(command: str) -> None:
    text = COMMANDS[command].format_help()
    assert "exit codes:" in text
    assert max(map(len, text.splitlines())) <= 120

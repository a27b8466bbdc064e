"""Shows the import contract of pyproject.toml as a picture (SVG), to be read on light and on dark pages, and as the map
of CONTRIBUTING.md.

``python -m tests.architecture`` writes both.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "architecture.svg"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"


class Part(NamedTuple):
    """Modules of one row of the contract that belong together: one line of the map.

    :ivar holds: what they hold, as the map says it, in Markdown.
    :ivar modules: the few words that fit into the box of each module in the picture, by its name.
    """

    holds: str
    modules: Mapping[str, str]


# Every module of the contract, in the order of the map. The rows are those of the contract.
PARTS = [
    Part(
        "the `asyncwork` command: one file for each subcommand, and one in `usage/` for its options and help texts",
        {"cli": "the asyncwork command"},
    ),
    Part("the fixtures for tests of applications", {"pytest_plugin": "fixtures"}),
    Part("the web UI, its JSON API and gocraft/work's", {"web": "web UI and JSON API"}),
    Part("a redis-server that the process starts and supervises", {"embedded": "a redis-server"}),
    Part(
        "the parent of `run --processes`, and the link of its children to it",
        {"_processes": "several processes"},
    ),
    Part("the jobs of a test of an application, and the audit", {"testing": "jobs in tests, audit"}),
    Part(
        "`WorkerPool`: its handlers, its options, its start and stop",
        {"worker_pool": "WorkerPool", "_pool": "the pool's lifecycle"},
    ),
    Part(
        "what runs while a pool runs: `launcher` starts it, `dispatcher` fetches and acknowledges, `worker` runs the "
        "handler, `services/` holds the background services",
        {"_worker": "dispatcher, services"},
    ),
    Part(
        "`Client`: reads a namespace and acts on it; `GocraftClient`: the methods of gocraft/work's client",
        {"client": "Client", "gocraft": "Go's names"},
    ),
    Part(
        "`Enqueuer`, the blocking one, `Task`, `Batch` and `Flow`: the ways to enqueue; and waiting for many results",
        {
            "enqueuer": "Enqueuer",
            "sync": "the blocking Enqueuer",
            "task": "Task",
            "batch": "Batch",
            "flow": "Flow",
            "results": "many results",
        },
    ),
    Part("queries, search and actions on many jobs, for the client", {"_admin": "search and actions"}),
    Part("what is wrong with a namespace, and how to repair it", {"_doctor": "diagnosis, repair"}),
    Part(
        "the only package that imports redis-py or makes a key: connections, keys, and `lua/`, one script for each "
        "step in the life of a job",
        {"_redis": "keys, scripts, connections"},
    ),
    Part("what a job is: handler, arguments, names, ids, cron", {"_jobs": "handlers, names, ids"}),
    Part("JSON as it is stored, and as Go spells it", {"_json": "JSON, Go's spelling"}),
    Part(
        "the health port, reports of processes and their sum, and the text format of Prometheus",
        {"_health": "health, metrics"},
    ),
    Part("the values that the API returns", {"models": "returned values"}),
    Part(
        "the public types that every row uses",
        {
            "job": "Job, its payload",
            "options": "PoolOptions",
            "schedule": "cron schedules",
            "unique": "Unique, Debounce",
            "rate": "rates of queues",
            "limit": "shared limits",
            "middleware": "around handlers",
            "decisions": "Retry, Snooze, Discard",
            "errors": "the error tree",
            "logging": "log filters",
        },
    ),
    Part("`Tracing`: the spans of jobs, for OpenTelemetry", {"otel": "OpenTelemetry"}),
    Part("environment variables, and the version", {"_environment": "env variables", "_version": "the version"}),
]

_WIDTH, _LEFT, _TOP = 792, 21, 74
_BOX_WIDTH, _BOX_HEIGHT, _GAP, _PADDING, _ROW_GAP = 176, 46, 10, 8, 26
_MAX_PER_LINE = 4
_MAP_HEAD = "| row | module | holds |"

_STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
.title { font-size: 16px; font-weight: 600 }
.note { fill: #59636e; font-size: 12px }
.name { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-weight: 600 }
.group { fill: none; stroke: #8c959f; stroke-dasharray: 4 3 }
.public rect { fill: #ddf4ff; stroke: #0969da }
.private rect { fill: #f6f8fa; stroke: #8c959f }
.arrow { fill: none; stroke: #59636e; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .note { fill: #9198a1 }
  .group { stroke: #6e7681 }
  .public rect { fill: #0c2d6b; stroke: #388bfd }
  .private rect { fill: #21262d; stroke: #6e7681 }
  .arrow { stroke: #9198a1 }
}
"""


class Row(NamedTuple):
    """One row of the import contract.

    :ivar modules: the names of its modules, without the name of the package.
    :ivar together: whether its modules may import each other.
    """

    modules: Sequence[str]
    together: bool


def contracts() -> list[dict[str, Any]]:
    """Return the import contracts."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        found: list[dict[str, Any]] = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    return found


def rows() -> list[Row]:
    """Return the rows of the contract about layers, the highest first."""
    (layers,) = (each["layers"] for each in contracts() if each["type"] == "layers")
    return [
        Row([name.strip().removeprefix("asyncwork.") for name in layer.replace("|", ":").split(":")], ":" in layer)
        for layer in layers
    ]


def make_map() -> str:
    """Return the map, a table in Markdown: each part with the number of its row, the highest row first.

    :raises ValueError: when the modules of a part are in several rows.
    :raises KeyError: when the contract does not have a module.
    """
    numbers = {module: number for number, row in enumerate(rows(), 1) for module in row.modules}
    lines: list[tuple[int, str]] = []
    for part in PARTS:
        (number,) = {numbers[module] for module in part.modules}
        names = ", ".join(f"`{module}`" for module in part.modules)
        lines.append((number, f"| {number} | {names} | {part.holds} |"))
    lines.sort(key=lambda line: line[0])
    return "\n".join([_MAP_HEAD, "| --- | --- | --- |", *(line for _, line in lines)]) + "\n"


def replace_map(text: str) -> str:
    """Return a document with the map as it is now in the place of its own.

    :raises ValueError: when the document does not have exactly one map.
    """
    before, after = text.split(_MAP_HEAD)
    return before + make_map() + re.sub(r"\A.*\n(\|.*\n)*", "", after)


def draw() -> str:
    """Return the picture: a line of boxes for each row, or several where a row has many modules."""
    bodies: list[str] = []
    top = _TOP
    for number, row in enumerate(rows()):
        if number:
            bodies.append(_arrow(top - _ROW_GAP, top))
        height = _height(row)
        bodies += _row(row, top, height)
        top += height + _ROW_GAP
    notes = [each["name"] + "." for each in contracts() if each["type"] != "layers"]
    bodies += [
        f'<text class="note" x="{_LEFT}" y="{top + 18 * line}">{escape(note)}</text>' for line, note in enumerate(notes)
    ]
    size = f"0 0 {_WIDTH} {top + 18 * len(notes)}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" role="img" aria-labelledby="title">',
        f"<style>{_STYLE}</style>",
        f'<text id="title" class="title" x="{_LEFT}" y="26">The packages and modules of asyncwork</text>',
        *_key(),
        *bodies,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _key() -> Iterator[str]:
    x, y = _LEFT, 50
    for kind, text, width in (("public", "public", 76), ("private", "private, may change", 164)):
        yield f'<g class="{kind}"><rect x="{x}" y="{y - 10}" width="12" height="12" rx="2"/>'
        yield f'<text class="note" x="{x + 18}" y="{y}">{text}</text></g>'
        x += width
    yield f'<rect class="group" x="{x}" y="{y - 10}" width="12" height="12" rx="2"/>'
    text = "may import each other; all else imports only from the rows below"
    yield f'<text class="note" x="{x + 18}" y="{y}">{text}</text>'


def _lines(row: Row) -> list[Sequence[str]]:
    """Return the modules of a row in lines of about the same length."""
    count = -(-len(row.modules) // _MAX_PER_LINE)
    size = -(-len(row.modules) // count)
    return [row.modules[start : start + size] for start in range(0, len(row.modules), size)]


def _height(row: Row) -> int:
    lines = len(_lines(row))
    return lines * _BOX_HEIGHT + (lines - 1) * _GAP + (2 * _PADDING if row.together else 0)


def _row(row: Row, top: int, height: int) -> Iterator[str]:
    lines = _lines(row)
    if row.together:
        widest = max(map(_line_width, lines)) + 2 * _PADDING
        left = (_WIDTH - widest) // 2
        yield f'<rect class="group" x="{left}" y="{top}" width="{widest}" height="{height}" rx="8"/>'
        top += _PADDING
    for line in lines:
        left = (_WIDTH - _line_width(line)) // 2
        for module in line:
            yield from _box(module, left, top)
            left += _BOX_WIDTH + _GAP
        top += _BOX_HEIGHT + _GAP


def _line_width(line: Sequence[str]) -> int:
    return len(line) * _BOX_WIDTH + (len(line) - 1) * _GAP


def _box(module: str, left: int, top: int) -> Iterator[str]:
    """Draw a module or package; a package ends in a slash.

    :raises KeyError: when :data:`PARTS` does not have it.
    """
    name = f"{module}/" if (ROOT / "asyncwork" / module).is_dir() else module
    words = {module: words for part in PARTS for module, words in part.modules.items()}[module]
    middle = left + _BOX_WIDTH // 2
    yield f'<g class="{"private" if module.startswith("_") else "public"}">'
    yield f'<rect x="{left}" y="{top}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="5"/>'
    yield f'<text class="name" x="{middle}" y="{top + 19}" text-anchor="middle">{name}</text>'
    yield f'<text class="note" x="{middle}" y="{top + 36}" text-anchor="middle">{escape(words)}</text></g>'


def _arrow(start: int, end: int) -> str:
    x, tip = _WIDTH // 2, end - 5
    return f'<path class="arrow" d="M{x} {start + 5}V{tip}M{x - 4} {tip - 5}L{x} {tip}L{x + 4} {tip - 5}"/>'


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
    CONTRIBUTING.write_text(replace_map(CONTRIBUTING.read_text(encoding="utf-8")), encoding="utf-8")

"""The speed of asyncwork and its peers, as a run has recorded it: a file, and the words and the table made of it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from .catalogue import ASYNCWORK, PEERS
from .environments import ROOT
from .orders import Case
from .results import Results
from .rounds import CONCURRENCIES
from .table import table

# The file that the documents are made of.
RECORD = ROOT / "benchmarks" / "speed.json"
# The documents with figures, each between `<!-- speed: WORDS_OR_TABLE -->` and `<!-- end -->`.
DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "index.md", ROOT / "docs" / "comparison.md")

_GO = "gocraft/work"
_SIDES = {side.name: side for side in (ASYNCWORK, *PEERS)}
_BLOCK = re.compile(r"<!-- speed: (words|table) -->\n.*?\n<!-- end -->", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Speed:
    """No-op jobs per second.

    :ivar day: when they were measured, such as ``2030-12-31``.
    :ivar machine: its cores, processor and system.
    :ivar versions: of Python, Redis and asyncwork's packages.
    :ivar load: the load average of the machine, before and after.
    :ivar rounds: how often each was measured.
    :ivar rates: jobs per second of each side by its number of workers, one figure for each round.
    """

    day: str
    machine: str
    versions: str
    load: tuple[float, float]
    rounds: int
    rates: dict[str, dict[int, list[float]]]

    @classmethod
    def of(
        cls, results: Results, *, day: str, machine: str, versions: str, load: tuple[float, float], rounds: int
    ) -> Speed:
        """Return what a run has measured of asyncwork and its peers."""
        rates: dict[str, dict[int, list[float]]] = {}
        for name, side in _SIDES.items():
            for workers in dict.fromkeys(min(each, side.most) for each in CONCURRENCIES):
                if drains := results.drains.get(Case(name, workers)):
                    rates.setdefault(name, {})[workers] = [round(drain.rate, 3) for drain in drains]
        return cls(day, machine, versions, load, rounds, rates)

    @classmethod
    def read(cls, path: Path) -> Speed:
        """Read a file.

        :raises OSError: when it cannot be read.
        """
        found = json.loads(path.read_text(encoding="utf-8"))
        rates = {side: {int(workers): each for workers, each in by.items()} for side, by in found["rates"].items()}
        return cls(**{**found, "load": tuple(found["load"]), "rates": rates})

    def write(self, path: Path) -> None:
        """Write a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    def rate(self, side: str, workers: int) -> float | None:
        """Return the median of a side with so many workers, or as many as it can have; ``None`` if not measured."""
        found = self.rates.get(side, {}).get(min(workers, _SIDES[side].most))
        return median(found) if found else None

    def ranking(self, workers: int) -> list[tuple[str, float]]:
        """Return the sides with their medians, the quickest first."""
        found = [(side, rate) for side in self.rates if (rate := self.rate(side, workers)) is not None]
        return sorted(found, key=lambda each: -each[1])


def at_once(side: str) -> int:
    """Return how many jobs a side can run at once."""
    return _SIDES[side].most


def words(speed: Speed) -> str:
    """Return the sentences about the speed.

    :raises LookupError: when asyncwork was not measured.
    """
    few, many = CONCURRENCIES[0], CONCURRENCIES[-1]
    ours = {workers: speed.rate(ASYNCWORK.name, workers) for workers in (few, many)}
    if not (ours[few] and ours[many]):
        raise LookupError(f"asyncwork was not measured with {few} and {many} workers")
    text = (
        f"One worker process ran {_rounded(ours[few])} no-op jobs per second with {few} workers, and"
        f" {_rounded(ours[many])} with {many}."
    )
    beaten = [f"{ours[few] / go:,.0f} times as many as gocraft/work"] if (go := speed.rate(_GO, few)) else []
    peers = [(side, rate) for side, rate in speed.ranking(few) if side != ASYNCWORK.name and _is_like_ours(side)]
    if peers:
        side, rate = peers[0]
        quickest = f"{side}, the quickest of the other asyncio queues that acknowledge jobs"
        beaten.append(f"{ours[few] / rate:,.0f} times as many as {quickest}")
    return f"{text} With {few}, that is {', and '.join(beaten)}." if beaten else text


def _is_like_ours(side: str) -> bool:
    return _SIDES[side].event_loop and _SIDES[side].acknowledges


def _rounded(rate: float) -> str:
    """Return a number with two digits that count, because more of them change from run to run."""
    return f"{float(f'{rate:.1e}'):,.0f}"


def figures(speed: Speed) -> str:
    """Return the table, and how it was measured."""
    rows = []
    for side, _ in speed.ranking(CONCURRENCIES[0]):
        most = _SIDES[side].most
        cells = [speed.rate(side, workers) for workers in CONCURRENCIES]
        shown = [
            "" if rate is None or (number and most < workers) else f"{rate:,.0f}"
            for number, (rate, workers) in enumerate(zip(cells, CONCURRENCIES, strict=True))
        ]
        name = side if most >= CONCURRENCIES[-1] else f"{side} (it runs {most} at once)"
        rows.append([name, *shown, "yes" if _SIDES[side].acknowledges else "no"])
    head = ["no-op jobs per second", *(f"{workers} workers" for workers in CONCURRENCIES), "acknowledges"]
    times = "one round" if speed.rounds == 1 else f"medians of {speed.rounds} rounds"
    load = " and ".join(f"{each:.1f}" for each in speed.load)
    how = f"Measured on {speed.day}, {times}: {speed.versions}; {speed.machine}; load average {load} before and after."
    return f"{table(head, rows)}\n\n{wrapped(how)}"


def replace_figures(document: str, speed: Speed) -> str:
    """Return a document with the words and the table of this speed.

    :raises LookupError: when asyncwork was not measured.
    """
    made = {"words": wrapped(words(speed)), "table": figures(speed)}
    return _BLOCK.sub(lambda found: f"<!-- speed: {found[1]} -->\n\n{made[found[1]]}\n\n<!-- end -->", document)


def wrapped(text: str, width: int = 120) -> str:
    """Return a paragraph in lines of at most so many characters."""
    lines: list[list[str]] = [[]]
    for word in text.split():
        if len(" ".join([*lines[-1], word])) > width:
            lines.append([])
        lines[-1].append(word)
    return "\n".join(" ".join(line) for line in lines)


def write_documents(speed: Speed, documents: Sequence[Path] = DOCUMENTS) -> None:
    """Write the figures into the documents."""
    for path in documents:
        path.write_text(replace_figures(path.read_text(encoding="utf-8"), speed), encoding="utf-8")

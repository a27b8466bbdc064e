"""Writes metrics in the text format of Prometheus, version 0.0.4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .._jobs.printable import printable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Exposition:
    """A text to which metrics are added, each followed by its samples."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._name = ""

    def metric(self, name: str, kind: str, description: str) -> None:
        """Begin a metric.

        :param kind: ``counter``, ``gauge`` or ``histogram``.
        """
        self._name = name
        self._lines += [f"# HELP {name} {_escape_help(description)}", f"# TYPE {name} {kind}"]

    def sample(self, value: float, **labels: str) -> None:
        """Add a sample to the metric."""
        self._add(self._name, value, labels)

    def histogram(self, bounds: Sequence[float], counts: Sequence[int], total: float, **labels: str) -> None:
        """Add the samples of a histogram to the metric.

        :param bounds: the upper bounds of the buckets but the last, which has none; ascending.
        :param counts: how many values were in each bucket; missing ones are 0.
        :param total: the sum of the values.
        """
        below = 0
        for bound, count in zip(bounds, [*counts, *[0] * len(bounds)], strict=False):
            below += count
            self._add(f"{self._name}_bucket", below, {**labels, "le": f"{bound:.10g}"})
        self._add(f"{self._name}_bucket", sum(counts), {**labels, "le": "+Inf"})
        self._add(f"{self._name}_sum", total, labels)
        self._add(f"{self._name}_count", sum(counts), labels)

    def _add(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        pairs = ",".join(f'{label}="{_escape(text)}"' for label, text in labels.items())
        self._lines.append(f"{name}{{{pairs}}} {_number(value)}" if pairs else f"{name} {_number(value)}")

    def text(self) -> str:
        """Return all metrics."""
        return "".join(f"{line}\n" for line in self._lines)


def _number(value: float) -> str:
    # Integers of any size are exact up to 2**53, beyond which Prometheus rounds them.
    return str(int(value)) if isinstance(value, int) else repr(value)


def _escape(text: str) -> str:
    # Control characters and invalid UTF-8 are allowed neither in the format nor in names of new jobs, but a queue of
    # another program may have any name.
    return printable(text).replace("\\", "\\\\").replace('"', '\\"')


def _escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")

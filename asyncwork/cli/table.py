"""Tables as text, whose lines fit into the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .terminal import cells, fit, styled

_GAP = 2


class Column(NamedTuple):
    """A column.

    :ivar right: whether its texts end at the same cell, as numbers do.
    :ivar shrinks: whether its texts may be cut.
    :ivar narrowest: the cells that it keeps then.
    """

    title: str
    right: bool = False
    shrinks: bool = False
    narrowest: int = 8


class Row(NamedTuple):
    """A row.

    :ivar texts: one for each column. They are escaped when they are shown.
    :ivar style: of the whole row, such as ``bold``; empty for none.
    """

    texts: Sequence[str]
    style: str = ""


def table(columns: Sequence[Column], rows: Sequence[Row], width: int | None, *, colors: bool = False) -> list[str]:
    """Return the lines of a table.

    :param width: the cells of a line; ``None`` for any number.
    """
    # A text is not measured beyond a line.
    shown = [[fit(text, width) for text in row.texts] for row in rows]
    widths = [
        max(cells(text) for text in (column.title, *(texts[number] for texts in shown)))
        for number, column in enumerate(columns)
    ]
    if width is not None:
        _shrink(widths, columns, width)
    lines = [_line(columns, [column.title for column in columns], widths, width)]
    lines += [_line(columns, texts, widths, width) for texts in shown]
    styles = ["bold", *(row.style for row in rows)]
    return [styled(line, style, colors=colors) for line, style in zip(lines, styles, strict=True)]


def _shrink(widths: list[int], columns: Sequence[Column], width: int) -> None:
    """Make the widest columns that may shrink narrower until the table fits."""
    excess = sum(widths) + _GAP * (len(widths) - 1) - width
    while excess > 0:
        flexible = [
            number for number, column in enumerate(columns) if column.shrinks and widths[number] > column.narrowest
        ]
        if not flexible:
            return
        widths[max(flexible, key=widths.__getitem__)] -= 1
        excess -= 1


def _line(columns: Sequence[Column], texts: Sequence[str], widths: Sequence[int], width: int | None) -> str:
    parts = []
    for column, text, wide in zip(columns, texts, widths, strict=True):
        text = fit(text, wide)
        blank = " " * (wide - cells(text))
        parts.append(blank + text if column.right else text + blank)
    return fit((" " * _GAP).join(parts).rstrip(), width)

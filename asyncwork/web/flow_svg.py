"""The graph of a flow as SVG, without scripts or inline styles: each box says its state in words and with a symbol."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping

from markupsafe import Markup

from ..models.flows import NodeState, When
from .flow_folding import Fold
from .flow_layout import BOX_HEIGHT, BOX_WIDTH, Box, Layout, Line
from .formatting import compact, number, plain_text, plural

# Strokes of the symbols, in a square of 12 pixels.
SYMBOLS: Mapping[NodeState, str] = {
    NodeState.WAITING: "M6 1a5 5 0 1 0 .1 0M6 3.4V6l2 1.4",
    NodeState.ENQUEUED: "M3.5 2l6 4-6 4z",
    NodeState.DONE: "M1.5 6.5l3 3 6-7",
    NodeState.FAILED: "M2.5 2.5l7 7M9.5 2.5l-7 7",
    NodeState.CANCELLED: "M6 1a5 5 0 1 0 .1 0M2.6 2.6l6.8 6.8",
    NodeState.SKIPPED: "M2 2.5L5.5 6 2 9.5M6.5 2.5L10 6 6.5 9.5",
}
_BODY = Markup('<rect class="body" x=".6" y=".6" width="%g" height="%g" rx="8"/>') % (BOX_WIDTH - 1.2, BOX_HEIGHT - 1.2)
# The states that a box has as soon as one of its nodes has them. Other states count only if all nodes have the same.
_LOUDEST = (NodeState.FAILED, NodeState.CANCELLED, NodeState.ENQUEUED)
_WHEN = {When.SUCCESS: "", When.DONE: "however the others end", When.FAILURE: "only after a failure"}
_SHORT_WHEN = {When.SUCCESS: "", When.DONE: "always", When.FAILURE: "on failure"}
# Columns of text in a box; a wide character takes two.
_COLUMNS = 23
_PADDING = 14
_TEXT, _RIGHT = 30, BOX_WIDTH - _PADDING
_BAR_WIDTH = BOX_WIDTH - 2 * _PADDING


def draw(layout: Layout, title: str, link: Callable[[Box], str]) -> Markup:
    """Return the graph.

    :param title: what it is, for screen readers.
    :param link: returns the address to which a box leads.
    """
    lines = Markup("").join(map(_line, layout.lines))
    boxes = Markup("").join(_box(each, link(each)) for each in layout.boxes)
    return Markup(
        '<svg class="flow" width="%d" height="%d" viewBox="0 0 %d %d" role="group" aria-label="%s">'
        '<g class="edges" aria-hidden="true">%s</g>%s</svg>'
    ) % (layout.width, layout.height, layout.width, layout.height, title, lines, boxes)


def state_of(states: Mapping[NodeState, int]) -> NodeState:
    """Return the state of several nodes as a whole: the one that matters most."""
    for state in _LOUDEST:
        if states.get(state):
            return state
    if not states.get(NodeState.WAITING):
        return NodeState.SKIPPED if set(states) == {NodeState.SKIPPED} else NodeState.DONE
    return NodeState.WAITING if set(states) == {NodeState.WAITING} else NodeState.ENQUEUED


def symbol(state: NodeState) -> Markup:
    """Return the symbol of a state."""
    return Markup('<path class="mark" d="%s"/>') % SYMBOLS[state]


def name_of(box: Box) -> str:
    """Return what a box is called, in full."""
    group = box.groups[0]
    names = list(dict.fromkeys(each.label or each.name for each in box.groups))
    match box.fold:
        case Fold.NONE:
            return group.label or group.name
        case Fold.BESIDE if len({each.label for each in box.groups}) > 1:
            return group.name
        case Fold.ROW:
            return " → ".join(names[:20])
        case _:
            return ", ".join(names[:20])


def counts_text(states: Mapping[NodeState, int]) -> str:
    """Return how many nodes are in which state, as ``9,998 done, 2 failed``."""
    return ", ".join(f"{number(count)} {state}" for state, count in states.items())


def _line(line: Line) -> Markup:
    x1, y1, x2, y2 = (f"{each:g}" for each in (line.x1, line.y1, line.x2, line.y2))
    if x1 == x2:
        path = f"M{x1} {y1}V{y2}"
    else:
        middle = f"{(line.y1 + line.y2) / 2:g}"
        path = f"M{x1} {y1}C{x1} {middle} {x2} {middle} {x2} {y2}"
    # The head ends where the box begins.
    head = f"M{line.x2 - 4:g} {line.y2 - 6:g}l4 6 4-6z" if line.arrow else ""
    return Markup('<path d="%s"/>%s') % (path, Markup('<path class="head" d="%s"/>') % head if head else "")


def _box(box: Box, href: str) -> Markup:
    states, name = box.states, name_of(box)
    state = state_of(states)
    several = box.count > 1
    words = _description(box, name, states)
    count = f"×{compact(box.count)}" if several else ""
    left, line = (_PADDING, 53) if several else (_TEXT, 45)
    texts = [
        _BODY,
        Markup('<g transform="translate(12 13)">%s</g>') % symbol(state),
        _text("name", _TEXT, 23, cut(name, _COLUMNS - (len(count) + 2 if count else 0))),
        _text("state", left, line, _shortest(states) if several else _single(box, state)),
    ]
    if several:
        texts += [_text("count", _RIGHT, 23, count, end=True), _bar(states)]
    if when := _SHORT_WHEN[_when(box)]:
        texts.append(_text("when", _RIGHT, line, when, end=True))
    # The inner svg clips texts whose letters are wider than expected.
    return Markup(
        '<a href="%s" class="box %s" aria-label="%s"><title>%s</title>'
        '<svg x="%g" y="%g" width="%d" height="%d">%s</svg></a>'
    ) % (href, state, words, words, box.x, box.y, BOX_WIDTH, BOX_HEIGHT, Markup("").join(texts))


def _when(box: Box) -> When:
    """Return when the nodes of a box run, if that is the same for all of them."""
    whens = {each.when for each in box.groups}
    return whens.pop() if len(whens) == 1 else When.SUCCESS


def _description(box: Box, name: str, states: Mapping[NodeState, int]) -> str:
    """Return all that a box shows, and what it has no room for."""
    group = box.groups[0]
    title = plain_text(name, 300)
    if box.fold is Fold.NONE and group.label and group.name != group.label:
        title += f" ({plain_text(group.name, 100)})"
    if box.count > 1:
        title += f": {plural(box.count, 'node')}{_FOLDED[box.fold]}"
    texts = [title, counts_text(states) if box.count > 1 else str(state_of(states))]
    if when := _WHEN[_when(box)]:
        texts.append(f"runs {when}")
    return "; ".join(texts)


_FOLDED = {
    Fold.NONE: "",
    Fold.BESIDE: " beside each other",
    Fold.ROW: " one after the other",
    Fold.LAYER: " at the same distance from the beginning",
}


def _single(box: Box, state: NodeState) -> str:
    group = box.groups[0]
    name = f" · {group.name}" if group.label and group.name != group.label else ""
    columns = _COLUMNS + 4 - (len(_SHORT_WHEN[group.when]) + 4 if _SHORT_WHEN[group.when] else 0)
    return cut(f"{state}{name}", columns)


def _shortest(states: Mapping[NodeState, int]) -> str:
    """Return the counts, as far as there is room: those that are not the rule come first."""
    if len(states) == 1:
        return f"all {next(iter(states))}"
    order = [*_LOUDEST, NodeState.SKIPPED, NodeState.WAITING, NodeState.DONE]
    shown = [f"{compact(states[state])} {state}" for state in order if states.get(state)]
    return ", ".join(shown[:2])


def _bar(states: Mapping[NodeState, int]) -> Markup:
    """Return how many nodes are in which state, as a bar. Each state that occurs is wide enough to be seen."""
    left, total = float(_PADDING), sum(states.values())
    pieces = [Markup('<rect class="track" x="%g" y="32" width="%g" height="6"/>') % (left, _BAR_WIDTH)]
    for state in _BAR_ORDER:
        if states.get(state):
            width = min(_PADDING + _BAR_WIDTH - left, max(2.0, _BAR_WIDTH * states[state] / total))
            pieces.append(
                Markup('<rect class="%s" x="%.1f" y="32" width="%.1f" height="6"/>') % (state, left, max(0.0, width))
            )
            left += width
    return Markup("").join(pieces)


# Those that wait are the rest of the bar.
_BAR_ORDER = (NodeState.FAILED, NodeState.CANCELLED, NodeState.DONE, NodeState.SKIPPED, NodeState.ENQUEUED)


def _text(kind: str, x: float, y: float, text: str, *, end: bool = False) -> Markup:
    anchor = Markup(' text-anchor="end"') if end else ""
    return Markup('<text class="%s" x="%g" y="%g"%s>%s</text>') % (kind, x, y, anchor, text)


def cut(text: str, columns: int) -> str:
    """Return the beginning of a text that fits into so many columns."""
    text, used = plain_text(text, 200), 0
    for at, character in enumerate(text):
        used += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if used > columns:
            return f"{text[: max(0, at - 1)].rstrip(' .')}…"
    return text

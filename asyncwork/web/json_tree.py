"""JSON as a folded tree in which every value reads as it was written: all digits, all duplicates, at any depth."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from markupsafe import Markup

from .formatting import block, byte_length, number, short, size, visible

# Beyond these, a tree is more than anybody reads: the rest is told as text, or as how much there is.
_MOST_TOKENS = 20_000
_DEEPEST = 40
_MOST_NODES = 1_500
_LONGEST_TEXT = 20_000
_LONGEST_LINE = 240
_PREVIEW = 80
# Containers with more than so many elements begin folded.
_OPEN = 30

_TOKEN = re.compile(r'[ \t\n\r]*+("(?:[^"\\]++|\\.)*+"|-?\d[\d.eE+-]*+|true\b|false\b|null\b|[][{}:,])', re.DOTALL)
_BLANK = re.compile(r"[ \t\n\r]*")
_CLOSING = {"{": "}", "[": "]"}


@dataclass(slots=True)
class _Node:
    """A value: where it stands in the text, and what it holds."""

    key: str | None
    start: int
    end: int = 0
    children: list[_Node] = field(default_factory=list)


class _NotJsonError(Exception):
    """The text is no JSON, or too much of it."""


def tree(raw: bytes) -> Markup:
    """Return JSON as HTML; what is no JSON, or too large for a tree, as text, cut where it is too long."""
    text = raw.decode("utf-8", "replace")
    try:
        root = _parse(text)
    except _NotJsonError:
        return Markup('<pre class="text">%s</pre>') % block(text, _LONGEST_TEXT)
    return Markup('<ul class="tree">%s</ul>') % Markup("").join(_Writer(text).lines(root))


def has_arguments(raw: bytes) -> bool:
    """Tell whether a job's arguments are any."""
    return raw not in (b"null", b"{}", b"")


def line(raw: bytes) -> Markup:
    """Return the beginning of a job's arguments on one line."""
    if not has_arguments(raw):
        return Markup('<span class="none">no arguments</span>')
    return short(raw[:4_000].decode("utf-8", "replace"), 160) if len(raw) < 4_000 else _cut(raw)


def _cut(raw: bytes) -> Markup:
    start = raw[:640].decode("utf-8", "ignore")[:160]
    return visible(start) + Markup('<span class="cut">… %s</span>') % size(len(raw))


def _parse(text: str) -> _Node:
    """Read a document without recursion. Of grammar, it checks as much as finds every value's place."""
    root = _Node(None, 0)
    above = [root]
    tokens = _tokens(text)
    for token, start, end in tokens:
        within = above[-1]
        if token in "}]":
            if len(above) == 1 or token != _CLOSING[text[within.start]]:
                raise _NotJsonError
            above.pop().end = end
        elif token in ",:":
            if len(above) == 1:
                raise _NotJsonError
        else:
            key = None
            if len(above) > 1 and text[within.start] == "{":
                key = token
                colon, token, start, end = _member(tokens)
                if not key.startswith('"') or colon != ":" or token in ":,}]":
                    raise _NotJsonError
            node = _Node(key, start, end)
            within.children.append(node)
            if token in "{[":
                above.append(node)
    if len(above) != 1 or len(root.children) != 1:
        raise _NotJsonError
    return root.children[0]


def _member(tokens: Iterator[tuple[str, int, int]]) -> tuple[str, str, int, int]:
    try:
        return next(tokens)[0], *next(tokens)
    except StopIteration:
        raise _NotJsonError from None


def _tokens(text: str) -> Iterator[tuple[str, int, int]]:
    position = 0
    for _ in range(_MOST_TOKENS):
        match = _TOKEN.match(text, position)
        if match is None:
            if _BLANK.fullmatch(text, position):
                return
            break
        yield match[1], match.start(1), match.end()
        position = match.end()
    raise _NotJsonError


class _Writer:
    """Writes one tree."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._nodes = 0

    def lines(self, root: _Node) -> Iterator[Markup]:
        """Yield the tree's HTML; without recursion, too."""
        children = root.children if self._text[root.start] == "{" else [root]
        if not children:
            yield Markup('<li class="none">no arguments</li>')
        pending: list[_Node | Markup] = list(reversed(children))
        depth = 0
        while pending:
            each = pending.pop()
            if isinstance(each, Markup):
                depth -= 1
                yield each
            elif self._nodes == _MOST_NODES:
                left = sum(isinstance(node, _Node) for node in pending) + 1
                yield Markup('<li class="cut">… and at least %s more</li>') % number(left)
                yield from (node for node in pending[::-1] if isinstance(node, Markup))
                return
            else:
                self._nodes += 1
                if each.children and depth < _DEEPEST:
                    depth += 1
                    yield self._opening(each)
                    pending += [_CLOSE, *reversed(each.children)]
                else:
                    yield Markup("<li>%s%s</li>") % (self._key(each), self._leaf(each))

    def _opening(self, node: _Node) -> Markup:
        is_open = Markup(" open") if len(node.children) <= _OPEN else ""
        bracket = self._text[node.start]
        return Markup('<li><details%s><summary>%s<span class="fold">%s%s%s</span> %s</summary><ul>') % (
            is_open, self._key(node), bracket, number(len(node.children)), _CLOSING[bracket], self._preview(node)
        )  # fmt: skip

    def _preview(self, node: _Node) -> Markup:
        text = self._text[node.start : min(node.end, node.start + _PREVIEW)]
        return Markup('<span class="preview">%s%s</span>') % (visible(text), "" if len(text) < _PREVIEW else "…")

    def _key(self, node: _Node) -> Markup:
        return Markup('<span class="key">%s</span> ') % short(_unquoted(node.key)) if node.key else Markup()

    def _leaf(self, node: _Node) -> Markup:
        token = self._text[node.start : node.end]
        if token[0] == '"':
            return _string(_unquoted(token))
        kind = "num" if token[0] in "-0123456789" else "lit"
        return Markup('<span class="%s">%s</span>') % (kind, short(token, 5_000))


_CLOSE = Markup("</ul></details></li>")


def _unquoted(token: str) -> str:
    try:
        value = json.loads(token, strict=False)
    except ValueError:
        return token
    return value if isinstance(value, str) else token


def _string(value: str) -> Markup:
    if len(value) <= _LONGEST_LINE and "\n" not in value:
        return Markup('<span class="str">%s</span>') % visible(value)
    told = size(byte_length(value))
    if len(value) > _LONGEST_TEXT:
        told = f"{told}, the first {number(_LONGEST_TEXT)} characters"
    return Markup(
        '<details><summary><span class="str">%s</span> <span class="cut">%s</span></summary>'
        '<pre class="text">%s</pre></details>'
    ) % (short(value[:_LONGEST_LINE]), told, block(value, _LONGEST_TEXT))

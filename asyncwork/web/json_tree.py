"""JSON as a collapsible tree that shows every value as written: all digits, all duplicate keys, at any depth."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from markupsafe import Markup

from .formatting import byte_length, excerpt, multiline, number, size, visible

# Limits of a readable tree. Beyond them the rest is shown as text, or only counted.
_MAX_TOKENS = 20_000
_MAX_DEPTH = 40
_MAX_NODES = 1_500
_MAX_TEXT = 20_000
_MAX_LINE = 240
_PREVIEW = 80
# Containers with more elements start collapsed.
_MAX_OPEN = 30
# Limits of the one-line form, bytes and characters. A character takes at most four bytes.
_LINE_BYTES = 4_000
_LINE_CHARACTERS = 160

_TOKEN = re.compile(r'[ \t\n\r]*+("(?:[^"\\]++|\\.)*+"|-?\d[\d.eE+-]*+|true\b|false\b|null\b|[][{}:,])', re.DOTALL)
_BLANK = re.compile(r"[ \t\n\r]*")
_CLOSING = {"{": "}", "[": "]"}


@dataclass(slots=True)
class _Node:
    """A value: its range in the text, and its children."""

    key: str | None
    start: int
    end: int = 0
    children: list[_Node] = field(default_factory=list)


class _NotJsonError(Exception):
    """The text is not JSON, or has too many tokens."""


def tree_html(raw: bytes) -> Markup:
    """Return JSON as an HTML tree; invalid or very large JSON as text, cut where it is too long."""
    text = raw.decode("utf-8", "replace")
    try:
        root = _parse(text)
    except _NotJsonError:
        return Markup('<pre class="text">%s</pre>') % multiline(text, _MAX_TEXT)
    return Markup('<ul class="tree">%s</ul>') % Markup("").join(_TreeWriter(text).lines(root))


def has_arguments(raw: bytes) -> bool:
    """Return whether a job has arguments."""
    return raw not in (b"null", b"{}", b"")


def line_html(raw: bytes) -> Markup:
    """Return the beginning of a job's arguments as HTML on one line."""
    if not has_arguments(raw):
        return Markup('<span class="none">no arguments</span>')
    if len(raw) < _LINE_BYTES:
        return excerpt(raw.decode("utf-8", "replace"), _LINE_CHARACTERS)
    start = raw[: 4 * _LINE_CHARACTERS].decode("utf-8", "replace")
    return excerpt(start, _LINE_CHARACTERS, total_bytes=len(raw))


def _parse(text: str) -> _Node:
    """Parse a document without recursion. It checks only the grammar that it needs to find each value."""
    root = _Node(None, 0)
    open_nodes = [root]
    tokens = _tokens(text)
    for token, start, end in tokens:
        parent = open_nodes[-1]
        if token in "}]":
            if len(open_nodes) == 1 or token != _CLOSING[text[parent.start]]:
                raise _NotJsonError
            open_nodes.pop().end = end
        elif token in ",:":
            if len(open_nodes) == 1:
                raise _NotJsonError
        else:
            key = None
            if len(open_nodes) > 1 and text[parent.start] == "{":
                key = token
                colon, token, start, end = _member(tokens)
                if not key.startswith('"') or colon != ":" or token in ":,}]":
                    raise _NotJsonError
            node = _Node(key, start, end)
            parent.children.append(node)
            if token in "{[":
                open_nodes.append(node)
    if len(open_nodes) != 1 or len(root.children) != 1:
        raise _NotJsonError
    return root.children[0]


def _member(tokens: Iterator[tuple[str, int, int]]) -> tuple[str, str, int, int]:
    try:
        return next(tokens)[0], *next(tokens)
    except StopIteration:
        raise _NotJsonError from None


def _tokens(text: str) -> Iterator[tuple[str, int, int]]:
    position = 0
    for _ in range(_MAX_TOKENS):
        match = _TOKEN.match(text, position)
        if match is None:
            if _BLANK.fullmatch(text, position):
                return
            break
        yield match[1], match.start(1), match.end()
        position = match.end()
    raise _NotJsonError


class _TreeWriter:
    """Writes the HTML of one tree."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._nodes = 0

    def lines(self, root: _Node) -> Iterator[Markup]:
        """Yield the HTML of the tree's items, without recursion."""
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
            elif self._nodes == _MAX_NODES:
                left = sum(isinstance(node, _Node) for node in pending) + 1
                yield Markup('<li class="cut">… and at least %s more</li>') % number(left)
                yield from (node for node in pending[::-1] if isinstance(node, Markup))
                return
            else:
                self._nodes += 1
                if each.children and depth < _MAX_DEPTH:
                    depth += 1
                    yield self._opening(each)
                    pending += [_CLOSE, *reversed(each.children)]
                else:
                    yield Markup("<li>%s%s</li>") % (self._key(each), self._leaf(each))

    def _opening(self, node: _Node) -> Markup:
        is_open = Markup(" open") if len(node.children) <= _MAX_OPEN else ""
        bracket = self._text[node.start]
        return Markup('<li><details%s><summary>%s<span class="fold">%s%s%s</span> %s</summary><ul>') % (
            is_open, self._key(node), bracket, number(len(node.children)), _CLOSING[bracket], self._preview(node)
        )  # fmt: skip

    def _preview(self, node: _Node) -> Markup:
        text = self._text[node.start : min(node.end, node.start + _PREVIEW)]
        return Markup('<span class="preview">%s%s</span>') % (visible(text), "" if len(text) < _PREVIEW else "…")

    def _key(self, node: _Node) -> Markup:
        return Markup('<span class="key">%s</span> ') % excerpt(_unquoted(node.key)) if node.key else Markup()

    def _leaf(self, node: _Node) -> Markup:
        token = self._text[node.start : node.end]
        if token[0] == '"':
            return _string(_unquoted(token))
        kind = "num" if token[0] in "-0123456789" else "lit"
        return Markup('<span class="%s">%s</span>') % (kind, excerpt(token, 5_000))


_CLOSE = Markup("</ul></details></li>")


def _unquoted(token: str) -> str:
    try:
        value = json.loads(token, strict=False)
    except ValueError:
        return token
    return value if isinstance(value, str) else token


def _string(value: str) -> Markup:
    if len(value) <= _MAX_LINE and "\n" not in value:
        return Markup('<span class="str">%s</span>') % visible(value)
    summary = size(byte_length(value))
    if len(value) > _MAX_TEXT:
        summary = f"{summary}, the first {number(_MAX_TEXT)} characters"
    return Markup(
        '<details><summary><span class="str">%s</span> <span class="cut">%s</span></summary>'
        '<pre class="text">%s</pre></details>'
    ) % (excerpt(value[:_MAX_LINE]), summary, multiline(value, _MAX_TEXT))

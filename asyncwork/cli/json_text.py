"""JSON documents that contain JSON of other programs exactly, though Python would write some numbers otherwise.

A document is ASCII, so that no terminal acts on it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

# In JSON they are escaped within texts, and have no meaning elsewhere.
_LINE_BREAKS = str.maketrans("\r\n\t", "   ")
_NOT_PLAIN = re.compile(r"[^ -~]+")


def object_text(fields: Mapping[str, Any], **raw: str) -> str:
    """Return a JSON object in one line.

    :param raw: fields whose values are JSON.
    """
    texts = [json.dumps(fields)[1:-1]] if fields else []
    texts += [f"{json.dumps(name)}: {_plain(text)}" for name, text in raw.items()]
    return f"{{{', '.join(texts)}}}"


def array_text(objects: Iterable[str]) -> str:
    """Return a JSON array of JSON values, each in a line of its own."""
    lines = ",\n  ".join(objects)
    return f"[\n  {lines}\n]" if lines else "[]"


def document_text(fields: Mapping[str, Any], **arrays: Iterable[str]) -> str:
    """Return a JSON object. Its last fields are arrays of JSON objects."""
    texts = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items()]
    texts += [f"{json.dumps(name)}: {array_text(objects)}" for name, objects in arrays.items()]
    lines = ",\n".join(texts)
    return f"{{\n{lines}\n}}"


def _plain(text: str) -> str:
    text = text.translate(_LINE_BREAKS)
    return _NOT_PLAIN.sub(lambda found: json.dumps(found[0])[1:-1].replace("\x7f", r"\u007f"), text)

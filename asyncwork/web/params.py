"""What a request asks for: the values of its query, its form or its JSON body, read and checked."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote_to_bytes

from starlette.exceptions import HTTPException
from starlette.requests import Request

from .._admin.query import Criteria
from .._json import codec
from ..errors import PayloadError, UsageError

FORM = "application/x-www-form-urlencoded"

MOST_PER_PAGE = 200
_LAST_PAGE = 10**9
_FALSE = ("", "0", "false", "no", "off")
_TRUE = ("1", "true", "yes", "on")

# Fields that name keys in Redis.
_PARTS_OF_KEYS = ("place", "queue", "handle", "cursor", "undo")

Values = dict[str, list[str]]


class Fields:
    """Named texts, any of them repeated. Every method raises UsageError for a value that cannot be meant.

    :ivar is_form: whether they come from a form of a page.
    """

    def __init__(self, values: Mapping[str, Sequence[str]], *, is_form: bool = False) -> None:
        self._values = values
        self.is_form = is_form

    def __contains__(self, name: str) -> bool:
        return bool(self._values.get(name))

    def texts(self, *names: str) -> list[str]:
        """Return all that these fields hold."""
        return [text for name in names for text in self._values.get(name, ())]

    def text(self, name: str, default: str = "") -> str:
        """Return the first value of a field."""
        text = next(iter(self._values.get(name, ())), default)
        if name in _PARTS_OF_KEYS and not _fits_a_key(text):
            raise UsageError(f"{name} must be text that UTF-8 can hold, not {text[:40]!a}")
        return text

    def needed(self, name: str) -> str:
        """Return the first value of a field that must not be missing or empty."""
        text = self.text(name)
        if not text:
            raise UsageError(f"{name} is missing")
        return text

    def whole(self, name: str, default: int, *, low: int, high: int) -> int:
        """Return a whole number, the nearest one within the bounds."""
        text = self.text(name).strip()
        if not text:
            return default
        if not re.fullmatch(r"[+-]?[0-9]+", text):
            raise UsageError(f"{name} must be a whole number, not {text[:40]!r}")
        # Python refuses to read thousands of digits; here they are as good as an infinity.
        number = int(text) if len(text) < 20 else math.inf if text[0] != "-" else -math.inf
        return int(min(max(number, low), high))

    def flag(self, name: str) -> bool:
        """Return whether a field says yes."""
        text = self.text(name).lower()
        if text not in _FALSE + _TRUE:
            raise UsageError(f"{name} must be 1 or 0, not {text[:40]!r}")
        return text in _TRUE

    def choice(self, name: str, *choices: str) -> str:
        """Return one of the texts that there are to choose from; the first unless told otherwise."""
        text = self.text(name) or choices[0]
        if text not in choices:
            raise UsageError(f"{name} must be one of {', '.join(choices)}, not {text[:40]!r}")
        return text

    def page(self) -> int:
        """Return which page of a list is asked for, from 1."""
        return self.whole("page", 1, low=1, high=_LAST_PAGE)

    def per_page(self, default: int = 20) -> int:
        """Return how many jobs a page is to have."""
        return self.whole("per_page", default, low=1, high=MOST_PER_PAGE)

    def newest_first(self, default: bool = False) -> bool:
        """Return the order that is asked for."""
        return self.choice("order", *(("newest", "oldest") if default else ("oldest", "newest"))) == "newest"

    def criteria(self) -> Criteria:
        """Return which jobs are asked for. An empty ``error`` asks for jobs without one, an empty name for any."""
        return Criteria(
            name=self.text("name") or None,
            error=self.text("error") if "error" in self else None,
            text=self.text("text"),
        )


def query(request: Request) -> Fields:
    """Return the fields of a URL's query. Bytes in it that are not UTF-8 become surrogates, as in file names."""
    return Fields(_parse_form(request.scope["query_string"]))


def is_form(request: Request) -> bool:
    """Tell whether a request comes from a form of a page, so that a page is what should answer it."""
    accepted = request.headers.get("accept", "")
    if "application/json" in accepted and "text/html" not in accepted:
        return False
    return _content_type(request) == FORM


async def body(request: Request) -> Fields:
    """Return the fields of a request's body, a form or a JSON object, and those of its query behind them.

    In JSON a number or a truth value is as good as its text; null is as good as no field.

    :raises UsageError: when the body is not as it says it is.
    :raises HTTPException: when it says it is something else (415), or is too long (413).
    """
    raw = await request.body()
    kind = _content_type(request)
    if kind == FORM:
        values = _parse_form(raw)
    elif kind == "application/json":
        values = _parse_json(raw)
    elif raw.strip():
        raise HTTPException(415, f"a body must be application/json or {FORM}")
    else:
        values = {}
    for name, texts in _parse_form(request.scope["query_string"]).items():
        values.setdefault(name, []).extend(texts)
    return Fields(values, is_form=is_form(request))


def _fits_a_key(text: str) -> bool:
    """Tell whether a text is UTF-8, or bytes that are not and stand in it as in file names."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _parse_form(raw: bytes) -> Values:
    values: Values = {}
    for pair in raw.split(b"&"):
        if pair:
            name, _, value = pair.partition(b"=")
            values.setdefault(_unquote(name), []).append(_unquote(value))
    return values


def _unquote(raw: bytes) -> str:
    return unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8", "surrogateescape")


def _parse_json(raw: bytes) -> Values:
    try:
        given = codec.decode(raw) if raw.strip() else {}
    except PayloadError as error:
        raise UsageError(f"the body is {error}") from None
    if not isinstance(given, dict):
        raise UsageError("the body must be a JSON object")
    return {name: _texts(name, value) for name, value in given.items() if value is not None}


def _texts(name: str, value: object) -> list[str]:
    if isinstance(value, list):
        return [text for each in value for text in _texts(name, each)]
    if isinstance(value, bool):
        return ["1" if value else ""]
    if isinstance(value, (str, int, float)):
        return [str(value)]
    raise UsageError(f"{name[:40]!r} must be a text or a list of texts, not {type(value).__name__}")

"""Request parameters: the values of a query, a form or a JSON body, parsed and validated."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote_to_bytes

from starlette.exceptions import HTTPException
from starlette.requests import Request

from .._admin.query import JobQuery
from .._jobs.option_checks import HIGHEST_MAXIMUM
from .._json import codec
from ..errors import PayloadError, UsageError
from .formatting import quoted

FORM = "application/x-www-form-urlencoded"

MAX_PER_PAGE = 200
_MAX_PAGE = 10**9
_FALSE = ("", "0", "false", "no", "off")
_TRUE = ("1", "true", "yes", "on")

# Parameters that become part of a Redis key.
_KEY_PARAMS = ("location", "queue", "ref", "cursor", "undo", "key")

Values = dict[str, list[str]]


class Params:
    """Named texts, each of them possibly repeated. Every method raises UsageError for an invalid value.

    :ivar is_form: whether they come from a form of a page.
    """

    def __init__(self, values: Mapping[str, Sequence[str]], *, is_form: bool = False) -> None:
        self._values = values
        self.is_form = is_form

    def __contains__(self, name: str) -> bool:
        return bool(self._values.get(name))

    def texts(self, *names: str) -> list[str]:
        """Return all values of these parameters."""
        return [text for name in names for text in self._values.get(name, ())]

    def text(self, name: str, default: str = "") -> str:
        """Return the first value of a parameter."""
        text = next(iter(self._values.get(name, ())), default)
        if name in _KEY_PARAMS and not _is_key_text(text):
            raise UsageError(f"{name} must be valid UTF-8, not {quoted(text)}")
        return text

    def required(self, name: str) -> str:
        """Return the first value of a parameter that must be present and not empty."""
        text = self.text(name)
        if not text:
            raise UsageError(f"{name} is required")
        return text

    def integer(self, name: str, default: int, *, low: int, high: int) -> int:
        """Return a whole number; one out of bounds becomes the nearest bound."""
        text = self.text(name).strip()
        if not text:
            return default
        if not re.fullmatch(r"[+-]?[0-9]+", text):
            raise UsageError(f"{name} must be a whole number, not {quoted(text)}")
        # Python refuses to parse thousands of digits; any such number is out of bounds anyway.
        number = int(text) if len(text) < 20 else math.inf if text[0] != "-" else -math.inf
        return int(min(max(number, low), high))

    def maximum(self, name: str, what: str) -> int:
        """Return the highest number that there may be of something; 0, also without the parameter, for any number.

        :param what: what the message says that it must be.
        """
        number = self.integer(name, 0, low=-1, high=HIGHEST_MAXIMUM + 1)
        if not 0 <= number <= HIGHEST_MAXIMUM:
            raise UsageError(f"{name} must be {what}, at most {HIGHEST_MAXIMUM}")
        return number

    def flag(self, name: str) -> bool:
        """Return whether a parameter is true."""
        text = self.text(name).lower()
        if text not in _FALSE + _TRUE:
            raise UsageError(f"{name} must be 1 or 0, not {quoted(text)}")
        return text in _TRUE

    def choice(self, name: str, *choices: str) -> str:
        """Return one of the given choices, by default the first."""
        text = self.text(name) or choices[0]
        if text not in choices:
            raise UsageError(f"{name} must be one of {', '.join(choices)}, not {quoted(text)}")
        return text

    def page(self) -> int:
        """Return the requested page of a list, from 1."""
        return self.integer("page", 1, low=1, high=_MAX_PAGE)

    def per_page(self, default: int = 20) -> int:
        """Return the requested number of jobs on a page."""
        return self.integer("per_page", default, low=1, high=MAX_PER_PAGE)

    def newest_first(self, default: bool = False) -> bool:
        """Return whether the newest jobs are requested first."""
        return self.choice("order", *(("newest", "oldest") if default else ("oldest", "newest"))) == "newest"

    def job_query(self) -> JobQuery:
        """Return the query of a search. An empty ``error`` matches jobs without one; an empty name matches all."""
        return JobQuery(
            name=self.text("name") or None,
            error=self.text("error") if "error" in self else None,
            text=self.text("text"),
        )


def query_params(request: Request) -> Params:
    """Return the parameters of a URL's query. Bytes that are not UTF-8 become surrogates, as in file names."""
    return Params(_parse_form(request.scope["query_string"]))


def is_form(request: Request) -> bool:
    """Return whether a request comes from a form of a page, and its sender expects a page as the response."""
    accepted = request.headers.get("accept", "")
    if "application/json" in accepted and "text/html" not in accepted:
        return False
    return _content_type(request) == FORM


async def body_params(request: Request) -> Params:
    """Return the parameters of a request's body, a form or a JSON object, followed by those of its query.

    In JSON, numbers and booleans are accepted in place of their text, and as ``args`` an object in place of its JSON;
    null is the same as a missing member.

    :raises UsageError: when the body does not match its content type.
    :raises HTTPException: when the content type is not supported (415), or the body is too long (413).
    """
    raw = await request.body()
    kind = _content_type(request)
    if kind == FORM:
        values = _parse_form(raw)
    elif kind == "application/json":
        values = _parse_json(raw)
    elif raw.strip():
        raise HTTPException(415, f"the body must be application/json or {FORM}")
    else:
        values = {}
    for name, texts in _parse_form(request.scope["query_string"]).items():
        values.setdefault(name, []).extend(texts)
    return Params(values, is_form=is_form(request))


def _is_key_text(text: str) -> bool:
    """Return whether a text can be part of a Redis key: UTF-8, with other bytes as surrogates as in file names."""
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
        body = codec.decode(raw) if raw.strip() else {}
    except PayloadError as error:
        raise UsageError(f"the body is {error}") from None
    if not isinstance(body, dict):
        raise UsageError("the body must be a JSON object")
    return {name: _texts(name, value) for name, value in body.items() if value is not None}


def _texts(name: str, value: object) -> list[str]:
    if name == "args" and isinstance(value, dict):
        return [codec.encode_args(value).decode("utf-8", "surrogateescape")]
    if isinstance(value, list):
        return [text for each in value for text in _texts(name, each)]
    if isinstance(value, bool):
        return ["1" if value else ""]
    if isinstance(value, (str, int, float)):
        return [str(value)]
    raise UsageError(f"{quoted(name)} must be a text or a list of texts, not {type(value).__name__}")

"""Hides from the records of jobs what not everybody may see, wherever in a record it is quoted."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from urllib.parse import quote, quote_plus

from .._json import codec
from .._json.walk import groups
from ..errors import PayloadError
from ..models import JobRecord, PeriodicState

logger = logging.getLogger("asyncwork")

# Given a record before anybody sees it, returns what may be seen of it.
Redact = Callable[[JobRecord], JobRecord]

# The place of the record that `redact` is given of a job that a schedule enqueues.
PERIODIC = "periodic"

# What stands where a hidden value stood.
HIDDEN = "[redacted]"

# Values shorter than this are hidden only where they stand as a word: otherwise hiding `1` would blacken every text.
_SHORT = 4
# Beyond these, looking for each hidden value would take too long: the texts are hidden as a whole.
_MOST_VALUES = 500
_MOST_CHARACTERS = 200_000

# How the key of a periodic job with arguments ends, and within its instances' ids what comes before the time.
_ARGS_DIGEST = re.compile(r":([0-9a-f]{12})(?=$|:[0-9]{1,12}$)")


class Redaction:
    """Applies a user's ``redact`` to whatever is shown of jobs.

    A value that ``redact`` takes out of the arguments is also hidden where an error text, a traceback or a check-in
    quotes it, and no digest of the arguments is shown that could be compared with guesses.

    :param redact: ``None`` hides nothing.
    """

    def __init__(self, redact: Redact | None) -> None:
        self._redact = redact
        self._reported: set[str] = set()

    def __bool__(self) -> bool:
        return self._redact is not None

    def shown(self, record: JobRecord, key: bytes) -> JobRecord:
        """Return what may be seen of a record.

        :param key: keys the digests that are shown.
        """
        if self._redact is None:
            return record
        # Bytes that are no job, and a unique key, may hold what the hook would hide elsewhere.
        bare = replace(record, text="", unique_key="")
        try:
            shown = self._redact(bare)
            if not isinstance(shown, JobRecord):
                raise TypeError(f"redact must return a JobRecord, not {type(shown).__name__}")
            return _without_hidden(record, shown, key)
        except KeyboardInterrupt:
            raise
        # The hook is foreign code: whatever it raises, nothing of the job may be shown and nothing else may fail.
        except BaseException as error:
            self._report(error)
            job_id = _keyed(record.id, key)
            return replace(bare, id=job_id, args=b"null", err="", traceback="", checkin="", fault="", size=0)

    def periodic(self, state: PeriodicState, key: bytes) -> PeriodicState:
        """Return what may be seen of a periodic job."""
        if self._redact is None:
            return state
        record = JobRecord(PERIODIC, "", state.name, args=state.args, at=state.next, size=len(state.args))
        args = self.shown(record, key).args
        if args == state.args != b"null":
            return state
        # The arguments of a periodic job that no pool plans are not known: its key may tell of hidden ones.
        return replace(state, args=args, key=_keyed(state.key, key), spec=_keyed(state.spec, key))

    def _report(self, error: BaseException) -> None:
        """Log where ``redact`` failed, once for each place. What it raised may quote what it was to hide."""
        steps = traceback.extract_tb(error.__traceback__)
        where = f"{type(error).__name__} at {steps[-1].filename}:{steps[-1].lineno}" if steps else type(error).__name__
        if where not in self._reported:
            self._reported.add(where)
            logger.error("redact failed; the jobs that it fails for are hidden: %s", where)


def _without_hidden(record: JobRecord, shown: JobRecord, key: bytes) -> JobRecord:
    """Return what ``redact`` made of a record, with the values it took out of the arguments hidden everywhere."""
    if shown.args == record.args:
        return shown
    values = _hidden_values(record.args, shown.args)
    err, trace, checkin, fault = (
        _without(values, text) for text in (shown.err, shown.traceback, shown.checkin, shown.fault)
    )
    # The size of the payload would tell how long the hidden values are.
    size = len(shown.args) + len(err) + len(trace)
    return replace(shown, id=_keyed(shown.id, key), err=err, traceback=trace, checkin=checkin, fault=fault, size=size)


def _keyed(text: str, key: bytes) -> str:
    """Return a periodic job's key, or an instance's id, with another digest of the arguments, which needs ``key``."""
    return _ARGS_DIGEST.sub(
        lambda match: ":" + hashlib.blake2b(match[1].encode(), key=key, digest_size=6).hexdigest(), text
    )


def _hidden_values(before: bytes, after: bytes) -> list[str] | None:
    """Return the texts of the values that are no longer in the arguments, the longest first; ``None`` for too many."""
    try:
        given = codec.decode(before)
    except PayloadError:
        return None
    try:
        kept = set(_texts_in(codec.decode(after)))
    except PayloadError:
        kept = set()
    hidden: dict[str, None] = {}
    characters = 0
    for text in _texts_in(given):
        if text in kept or text in hidden or not text.strip():
            continue
        hidden[text] = None
        characters += len(text)
        if len(hidden) > _MOST_VALUES or characters > _MOST_CHARACTERS:
            return None
    spelled = {each for text in hidden for each in _spellings(text)}
    return sorted(spelled, key=lambda each: (-len(each), each))


def _texts_in(args: object) -> Iterator[str]:
    """Yield each text and number in arguments. The names of the arguments themselves are no values."""
    for group in groups(args.values() if isinstance(args, dict) else (args,)):
        for each in group:
            if isinstance(each, str):
                yield each
            elif isinstance(each, dict):
                yield from (name for name in each if len(name) >= _SHORT)
            elif isinstance(each, (int, float)) and not isinstance(each, bool):
                yield str(each)


def _spellings(text: str) -> Iterator[str]:
    """Yield how a value may be written in an error text: as it is, by ``repr``, in JSON, or in a URL."""
    yield text
    yield repr(text)[1:-1]
    for only_ascii in (True, False):
        yield json.dumps(text, ensure_ascii=only_ascii)[1:-1]
    encoded = text.encode("utf-8", "replace")
    yield quote(encoded, safe="")
    yield quote_plus(encoded)


def _without(values: Iterable[str] | None, text: str) -> str:
    """Return a text with values replaced; ``None`` for too many of them hides all of it."""
    if values is None or not text:
        return HIDDEN if text else ""
    folded = text.lower()
    for value in values:
        if value.lower() in folded:
            pattern = re.escape(value)
            if len(value) < _SHORT:
                pattern = rf"(?<!\w){pattern}(?!\w)"
            text = re.sub(pattern, HIDDEN, text, flags=re.IGNORECASE)
            folded = text.lower()
        text = _without_cut(value, text)
    return text


def _without_cut(value: str, text: str) -> str:
    """Return a text without the part of a value with which it ends or begins because it was cut there."""
    if text.endswith("…"):
        tail = text[:-1][-len(value) :]
        for start in _places(tail, value[:_SHORT]):
            if value.startswith(tail[start:]):
                return text[: len(text) - 1 - len(tail) + start] + HIDDEN + "…"
    if text.startswith("…"):
        head = text[1:][: len(value)]
        for start in _places(head, value[-_SHORT:]):
            end = start + _SHORT
            if value.endswith(head[:end]):
                return "…" + HIDDEN + text[1 + end :]
    return text


def _places(text: str, wanted: str) -> Iterator[int]:
    """Yield where a text of at least four characters stands in another."""
    if len(wanted) < _SHORT:
        return
    start = text.find(wanted)
    while start >= 0:
        yield start
        start = text.find(wanted, start + 1)

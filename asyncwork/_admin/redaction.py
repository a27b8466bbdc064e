"""Hide confidential values in job records, wherever a record quotes them."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from urllib.parse import quote, quote_plus

from .._jobs.option_checks import check_callable
from .._json import codec
from .._json.walk import groups
from ..errors import PayloadError
from ..models.job_record import JobRecord
from ..models.periodic import PeriodicState

logger = logging.getLogger("asyncwork")

# Called with a record before it is shown; returns what may be shown of it.
Redact = Callable[[JobRecord], JobRecord]

# The location of the record with which `redact` is called for a periodic job.
PERIODIC = "periodic"

# The replacement of a hidden value.
HIDDEN = "[redacted]"

# Shorter values are hidden only where they stand as a word, because hiding each `1` would make texts unreadable.
_SHORT = 4
# With more values or characters, searching for each takes too long, and the texts are hidden as a whole.
_MOST_VALUES = 500
_MOST_CHARACTERS = 200_000

# The digest of the arguments: the end of a periodic job's key, and before the time in the ids of its instances.
_ARGS_DIGEST = re.compile(r":([0-9a-f]{12})(?=$|:[0-9]{1,12}$)")


class Redaction:
    """Applies a user's ``redact`` to job records before they are shown.

    A value that ``redact`` removes from the arguments is also hidden where an error text, a traceback or a check-in
    quotes it. No digest of the arguments is shown that could be compared with digests of guesses.

    :param redact: ``None`` hides nothing.
    :raises UsageError: when it cannot be called.
    """

    def __init__(self, redact: Redact | None) -> None:
        if redact is not None:
            check_callable(redact, "redact", "takes a JobRecord and returns what may be shown of it")
        self._redact = redact
        self._reported: set[str] = set()

    def __bool__(self) -> bool:
        return self._redact is not None

    def apply(self, record: JobRecord, key: bytes) -> JobRecord:
        """Return a redacted record.

        :param key: the namespace's key for digests.
        """
        if self._redact is None:
            return record
        # A payload that is not a job, and a unique key, may hold what `redact` would hide elsewhere.
        bare = replace(record, text="", unique_key="")
        try:
            redacted = self._redact(bare)
            if not isinstance(redacted, JobRecord):
                raise TypeError(f"redact must return a JobRecord, not {type(redacted).__name__}")
            return _hide_quotes(record, redacted, key)
        except KeyboardInterrupt:
            raise
        # `redact` is foreign code: whatever it raises, no value of the job may be shown, and nothing else may fail.
        except BaseException as error:
            self._report(error)
            job_id = _keyed(record.id, key)
            bare = replace(bare, id=job_id, args=b"null", size=0, progress=None)
            return replace(bare, err="", traceback="", checkin="", reason="")

    def apply_to_periodic(self, state: PeriodicState, key: bytes) -> PeriodicState:
        """Return a redacted periodic job."""
        if self._redact is None:
            return state
        args, code_args = self._periodic_args(state, state.args, key), state.code_args
        if code_args is not None:
            code_args = self._periodic_args(state, code_args, key)
        if args == state.args != b"null" and code_args == state.code_args:
            return state
        # The arguments of a periodic job that no pool plans are unknown; the digest in its key may be of hidden ones.
        hidden = replace(state, args=args, key=_keyed(state.key, key), spec=_keyed(state.spec, key))
        return replace(hidden, code_args=code_args, code_spec=_keyed(state.code_spec, key))

    def _periodic_args(self, state: PeriodicState, args: bytes, key: bytes) -> bytes:
        record = JobRecord(PERIODIC, "", state.name, args=args, at=state.next, size=len(args))
        return self.apply(record, key).args

    def keyed(self, text: str, key: bytes) -> str:
        """Return a periodic job's key, or an instance's id, without a digest that could be compared with guesses."""
        return _keyed(text, key)

    def _report(self, error: BaseException) -> None:
        """Log where ``redact`` failed, once for each line of code; its message may quote what it was to hide."""
        steps = traceback.extract_tb(error.__traceback__)
        where = f"{type(error).__name__} at {steps[-1].filename}:{steps[-1].lineno}" if steps else type(error).__name__
        if where not in self._reported:
            self._reported.add(where)
            logger.error("redact failed; the jobs that it fails for are hidden: %s", where)


def _hide_quotes(record: JobRecord, redacted: JobRecord, key: bytes) -> JobRecord:
    """Return the redacted record, with the values that were removed from the arguments hidden in its texts too."""
    if redacted.args == record.args:
        return redacted
    values = _hidden_values(record.args, redacted.args)
    err, trace, checkin, reason = (
        _without(values, text) for text in (redacted.err, redacted.traceback, redacted.checkin, redacted.reason)
    )
    # The size of the payload would reveal the length of the hidden values.
    size = len(redacted.args) + len(err) + len(trace)
    if (progress := redacted.progress) is not None:
        progress = replace(progress, text=_without(values, progress.text))
    redacted = replace(redacted, id=_keyed(redacted.id, key), err=err, traceback=trace, checkin=checkin)
    return replace(redacted, reason=reason, progress=progress, size=size)


def _keyed(text: str, key: bytes) -> str:
    """Return a periodic job's key, or an instance's id, with a keyed digest instead of the digest of the arguments."""
    return _ARGS_DIGEST.sub(
        lambda match: ":" + hashlib.blake2b(match[1].encode(), key=key, digest_size=6).hexdigest(), text
    )


def _hidden_values(before: bytes, after: bytes) -> list[str] | None:
    """Return the values that are no longer in the arguments, as text, the longest first; ``None`` for too many."""
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
    """Yield each text and number in arguments, but not the names of the arguments."""
    for group in groups(args.values() if isinstance(args, dict) else (args,)):
        for each in group:
            if isinstance(each, str):
                yield each
            elif isinstance(each, dict):
                yield from (name for name in each if len(name) >= _SHORT)
            elif isinstance(each, (int, float)) and not isinstance(each, bool):
                yield str(each)


def _spellings(text: str) -> Iterator[str]:
    """Yield the spellings of a value in an error text: as it is, by ``repr``, in JSON, and in a URL."""
    yield text
    yield repr(text)[1:-1]
    for only_ascii in (True, False):
        yield json.dumps(text, ensure_ascii=only_ascii)[1:-1]
    encoded = text.encode("utf-8", "replace")
    yield quote(encoded, safe="")
    yield quote_plus(encoded)


def _without(values: Iterable[str] | None, text: str) -> str:
    """Return a text with values replaced; ``None``, for too many values, hides the whole text."""
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
    """Return a text without the part of a value at its end or start, where it was cut."""
    if text.endswith("…"):
        tail = text[:-1][-len(value) :]
        for start in _positions(tail, value[:_SHORT]):
            if value.startswith(tail[start:]):
                return text[: len(text) - 1 - len(tail) + start] + HIDDEN + "…"
    if text.startswith("…"):
        head = text[1:][: len(value)]
        for start in _positions(head, value[-_SHORT:]):
            end = start + _SHORT
            if value.endswith(head[:end]):
                return "…" + HIDDEN + text[1 + end :]
    return text


def _positions(text: str, wanted: str) -> Iterator[int]:
    """Yield the positions of a text of at least four characters in another."""
    if len(wanted) < _SHORT:
        return
    start = text.find(wanted)
    while start >= 0:
        yield start
        start = text.find(wanted, start + 1)

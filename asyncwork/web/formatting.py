"""Formatting of values for pages: untrusted text, numbers, durations and times."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from urllib.parse import quote

from markupsafe import Markup, escape

from .._jobs.printable import EARLIEST_DATE, LATEST_DATE, utc_time
from .._jobs.times import LATEST

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400

# Characters without a shape of their own, or that change how their neighbours are drawn: control and format
# characters, line separators, fillers, lone surrogates.
_INVISIBLE = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U000e0000-\U000e0fff"
)
_INVISIBLE_RUN = re.compile(f"[{_INVISIBLE}]+")
_INVISIBLE_OR_BREAK_RUN = re.compile(f"[\t\n{_INVISIBLE}]+")
_NAMED_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}

# Untrusted text. Each place that shows it has one function: `visible`, `excerpt` and `multiline` for HTML,
# `plain_text` for titles and attributes, `quoted` for error texts and log lines, `url_encode` for URLs, and
# `escape_surrogates` for output that must be UTF-8.


def visible(text: str, *, multiline: bool = False) -> Markup:
    """Return a text as HTML that shows every character; invisible ones become dimmed escapes.

    :param multiline: whether to keep line breaks and tabs.
    """
    runs = (_INVISIBLE_RUN if multiline else _INVISIBLE_OR_BREAK_RUN).finditer(text)
    parts, end = [], 0
    for match in runs:
        parts += [escape(text[end : match.start()]), Markup('<span class="esc">%s</span>') % _escapes(match[0])]
        end = match.end()
    return Markup("").join([*parts, escape(text[end:])])


def _escapes(run: str) -> str:
    return "".join(_NAMED_ESCAPES.get(each) or _escaped(ord(each)) for each in run)


def _escaped(point: int) -> str:
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def excerpt(text: str, limit: int = 120, *, total_bytes: int | None = None) -> Markup:
    """Return the beginning of a text as HTML on one line, followed by its full size if it is cut.

    :param total_bytes: the full size, when ``text`` is only the beginning of a longer text.
    """
    if len(text) <= limit and total_bytes is None:
        return visible(text)
    full = byte_length(text) if total_bytes is None else total_bytes
    return visible(text[:limit]) + Markup('<span class="cut">… %s</span>') % size(full)


def multiline(text: str, limit: int = 20_000) -> Markup:
    """Return a text as HTML with its line breaks, cut after ``limit`` characters."""
    cut = Markup('<span class="cut">…</span>') if len(text) > limit else ""
    return visible(text[:limit], multiline=True) + cut


def plain_text(text: str, limit: int = 200) -> str:
    """Return a text for a place without HTML, such as a title; invisible characters are escaped."""
    return _cut(_INVISIBLE_OR_BREAK_RUN.sub(lambda match: _escapes(match[0]), text), limit)


def quoted(text: str, limit: int = 40) -> str:
    """Return the beginning of a text in quotes for an error text or a log line; all but ASCII is escaped."""
    return ascii(_cut(text, limit))


def url_encode(text: str) -> str:
    """Return a text for a query string. Surrogates become the bytes that they stand for, as in file names."""
    try:
        return quote(text.encode("utf-8", "surrogateescape"), safe="")
    except UnicodeEncodeError:
        return quote(escape_surrogates(text), safe="")


def escape_surrogates(text: str) -> str:
    """Return a text with lone surrogates escaped, so that it can be encoded as UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


# Numbers, durations and times


def byte_length(text: str) -> int:
    """Return the size of a text in UTF-8, in bytes; lone surrogates count as three."""
    return len(text.encode("utf-8", "surrogatepass"))


def size(count: int) -> str:
    """Return a size with a unit: ``512 B``, ``1.5 kB``, ``20 MB``."""
    if count < 1_000:
        return f"{count} B"
    amount, unit = (count / 10**3, "kB") if count < 999_500 else (count / 10**6, "MB")
    return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:,.0f} {unit}"


def number(value: float) -> str:
    """Return a number with thousands separators."""
    return f"{value:,.0f}"


def compact(value: float) -> str:
    """Return a number in little space: ``93,274``, ``2.6 M``."""
    for unit, step in (("G", 10**9), ("M", 10**6)):
        if value >= step:
            return f"{value / step:.1f} {unit}"
    return number(value)


def rate(per_minute: float) -> str:
    """Return a rate per minute, with a decimal when it is small."""
    return f"{per_minute:.1f}" if 0 < per_minute < 9.95 and per_minute != int(per_minute) else number(per_minute)


def percent(part: float, whole: float) -> str:
    """Return a share as a percentage, with a decimal when it is small."""
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 0.1:
        return "< 0.1 %"
    return f"{share:.1f} %" if 0 < share < 9.95 else f"{share:.0f} %"


def duration(seconds: float) -> str:
    """Return a duration in its largest unit: ``12 s``, ``3 min``, ``5 h``, ``2 d``."""
    seconds = max(0, int(seconds))
    if seconds < _MINUTE:
        return f"{seconds} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE} min"
    return f"{seconds // _HOUR} h" if seconds < 2 * _DAY else f"{number(seconds // _DAY)} d"


def amount(value: float) -> str:
    """Return a number that a job has reported, with its thousands separated and at most three decimals."""
    return f"{value:,.3f}".rstrip("0").rstrip(".") if abs(value) < 1e15 else f"{value:g}"


def milliseconds(ms: float) -> str:
    """Return a duration that may be short: ``0.4 ms``, ``120 ms``, ``1.2 s``, ``3 min``."""
    if ms < 999.5:
        return f"{ms:.1f} ms" if 0 < ms < 9.95 else f"{ms:.0f} ms"
    return f"{ms / 1_000:.1f} s" if ms < 9_950 else duration(ms / 1_000)


def relative_time(at: float, now: float) -> str:
    """Return a time relative to another: ``in 3 min``, ``2 h ago``. app.js formats it in the same way."""
    away = round(at) - round(now)
    if away == 0:
        return "now"
    return f"in {duration(away)}" if away > 0 else f"{duration(-away)} ago"


def time_of_day(at: float) -> str:
    """Return the time of day in UTC."""
    return time.strftime("%H:%M", time.gmtime(at))


def month_day(at: float) -> str:
    """Return the month and day in UTC."""
    return time.strftime("%b %-d", time.gmtime(at))


def time_tag(at: float | None, now: float | None, kind: str = "ago") -> Markup:
    """Return a time as a ``<time>`` element that app.js keeps up to date.

    :param now: the current time. ``None`` leaves the text to app.js, so that the HTML of unchanged rows stays the same.
    :param kind: ``ago`` for a relative time, ``for`` for the duration since then, ``clock`` for the time of day, ``at``
        for the day and the time of day.
    """
    if at is None:
        return Markup('<span class="none">–</span>')
    if at == LATEST:
        # A job that waits for the end of another is scheduled for this time.
        return Markup("<span>after another job</span>")
    if not EARLIEST_DATE <= at <= LATEST_DATE:
        return Markup("<span>%s</span>") % utc_time(at)
    stamp = f"{datetime.fromtimestamp(int(at), UTC).isoformat()[:19]}Z"
    if kind in ("clock", "at"):
        words = time_of_day(at) if kind == "clock" else f"{month_day(at)}, {time_of_day(at)} UTC"
    elif now is None:
        words = utc_time(at)
    else:
        words = relative_time(at, now) if kind == "ago" else duration(now - at)
    title = "" if kind == "clock" else Markup(' title="%s"') % utc_time(at)
    return Markup('<time datetime="%s"%s data-as="%s">%s</time>') % (stamp, title, kind, words)


def plural(count: int, one: str, many: str = "") -> str:
    """Return a number and its noun."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"

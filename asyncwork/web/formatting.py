"""How values are shown: numbers, spans, moments, and texts that anybody may have written."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from urllib.parse import quote

from markupsafe import Markup, escape

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
# The years that datetime knows, epoch seconds.
_EARLIEST, _LATEST = -62_135_596_800, 253_402_300_799

# What has no shape of its own, or changes how its neighbours are drawn: control and format characters, line
# separators, fillers, lone surrogates.
_UNSEEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U000e0000-\U000e0fff"
)
_HIDDEN = re.compile(f"[{_UNSEEN}]+")
_HIDDEN_OR_BREAK = re.compile(f"[\t\n{_UNSEEN}]+")
_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def visible(text: str, *, lines: bool = False) -> Markup:
    """Return a text as HTML in which every character can be seen, those without a shape as dimmed escapes.

    :param lines: whether line breaks and tabs stay what they are.
    """
    found = (_HIDDEN if lines else _HIDDEN_OR_BREAK).finditer(text)
    parts, end = [], 0
    for match in found:
        parts += [escape(text[end : match.start()]), _dimmed(match[0])]
        end = match.end()
    return Markup("").join([*parts, escape(text[end:])])


def _dimmed(run: str) -> Markup:
    return Markup('<span class="esc">%s</span>') % _escapes(run)


def _escapes(run: str) -> str:
    return "".join(_NAMED.get(each) or _escaped(ord(each)) for each in run)


def _escaped(point: int) -> str:
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def plain(text: str, limit: int = 200) -> str:
    """Return a text for where there can be no HTML, such as a title: what has no shape is escaped, what is long cut."""
    shown = _HIDDEN_OR_BREAK.sub(lambda match: _escapes(match[0]), text)
    return shown if len(shown) <= limit else f"{shown[:limit]}…"


def short(text: str, limit: int = 120) -> Markup:
    """Return the beginning of a text on one line, and how long it is when that is not all."""
    if len(text) <= limit:
        return visible(text)
    return visible(text[:limit]) + Markup('<span class="cut">… %s</span>') % size(byte_length(text))


def block(text: str, limit: int = 20_000) -> Markup:
    """Return a text of several lines, up to so many characters."""
    return visible(text[:limit], lines=True) + (Markup('<span class="cut">…</span>') if len(text) > limit else "")


def byte_length(text: str) -> int:
    """Return how many bytes of UTF-8 a text is; lone surrogates count."""
    return len(text.encode("utf-8", "surrogatepass"))


def size(count: int) -> str:
    """Return a number of bytes in the unit that fits it."""
    if count < 1_000:
        return f"{count} B"
    amount, unit = (count / 10**3, "kB") if count < 999_500 else (count / 10**6, "MB")
    return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:,.0f} {unit}"


def number(value: float) -> str:
    """Return a number with its thousands set apart."""
    return f"{value:,.0f}"


def brief(value: float) -> str:
    """Return a number that may be large in little space: ``93,274``, ``2.6 M``."""
    for unit, step in (("G", 10**9), ("M", 10**6)):
        if value >= step:
            return f"{value / step:.1f} {unit}"
    return number(value)


def rate(per_minute: float) -> str:
    """Return how many a minute, exact where they are few."""
    return f"{per_minute:.1f}" if 0 < per_minute < 9.95 and per_minute != int(per_minute) else number(per_minute)


def percent(part: float, whole: float) -> str:
    """Return a share, with as many digits as tell something."""
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 0.1:
        return "< 0.1 %"
    return f"{share:.1f} %" if 0 < share < 9.95 else f"{share:.0f} %"


def span(seconds: float) -> str:
    """Return a length of time in its largest unit: ``12 s``, ``3 min``, ``5 h``, ``2 d``."""
    seconds = max(0, int(seconds))
    if seconds < _MINUTE:
        return f"{seconds} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE} min"
    return f"{seconds // _HOUR} h" if seconds < 2 * _DAY else f"{number(seconds // _DAY)} d"


def milliseconds(ms: float) -> str:
    """Return a length of time that may be short: ``0.4 ms``, ``120 ms``, ``1.2 s``, ``3 min``."""
    if ms < 999.5:
        return f"{ms:.1f} ms" if 0 < ms < 9.95 else f"{ms:.0f} ms"
    return f"{ms / 1_000:.1f} s" if ms < 9_950 else span(ms / 1_000)


def relative(at: float, now: float) -> str:
    """Return a moment as seen from another: ``in 3 min``, ``2 h ago``. app.js says it in the same words."""
    away = round(at) - round(now)
    if away == 0:
        return "now"
    return f"in {span(away)}" if away > 0 else f"{span(-away)} ago"


def exact(at: float) -> str:
    """Return a moment to the second, in UTC; one beyond the calendar as its number."""
    if not _EARLIEST <= at <= _LATEST:
        return f"{at:.0f} s after 1970"
    return f"{datetime.fromtimestamp(int(at), UTC).isoformat(' ')[:19]} UTC"


def clock(at: float) -> str:
    """Return the time of day of a moment, in UTC."""
    return time.strftime("%H:%M", time.gmtime(at))


def day(at: float) -> str:
    """Return the day of a moment, in UTC."""
    return time.strftime("%b %-d", time.gmtime(at))


def moment(at: float | None, now: float | None, kind: str = "ago") -> Markup:
    """Return a moment as a ``<time>`` that app.js keeps fresh.

    :param now: what it is seen from; ``None`` leaves the words to app.js, so that what has not changed reads the same.
    :param kind: ``ago`` for how far away it is, ``for`` for how long ago it was, ``clock`` for the time of day,
        ``at`` for that and the day.
    """
    if at is None:
        return Markup('<span class="none">–</span>')
    if not _EARLIEST <= at <= _LATEST:
        return Markup("<span>%s</span>") % exact(at)
    stamp = f"{datetime.fromtimestamp(int(at), UTC).isoformat()[:19]}Z"
    if kind in ("clock", "at"):
        words = clock(at) if kind == "clock" else f"{day(at)}, {clock(at)} UTC"
    elif now is None:
        words = exact(at)
    else:
        words = relative(at, now) if kind == "ago" else span(now - at)
    title = "" if kind == "clock" else Markup(' title="%s"') % exact(at)
    return Markup('<time datetime="%s"%s data-as="%s">%s</time>') % (stamp, title, kind, words)


def encoded(text: str) -> str:
    """Return a text for a query string; what a text cannot be in UTF-8 is there as the bytes that it was read from."""
    try:
        return quote(text.encode("utf-8", "surrogateescape"), safe="")
    except UnicodeEncodeError:
        return quote(text.encode("utf-8", "backslashreplace"), safe="")


def plural(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"

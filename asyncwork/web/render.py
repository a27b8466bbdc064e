"""From a view to its HTML."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from .._version import version
from ..client import Client
from ..models import JobCounts, Overview, Sizes
from . import assets, charts, cron_words, flash, formatting, json_tree
from .context import Site
from .links import Links
from .params import Fields, query

# The parameters that a link from a page to itself keeps.
_KEPT = (
    "name", "error", "text", "order", "page", "per_page", "cursor", "seen", "counted", "place", "handle", "id", "queue",
    "act", "as",
)  # fmt: skip
_JOB_ACTS = ("retry", "delete", "restore")
_QUEUE_ACTS = ("pause", "unpause", "cap", "empty", "forget", "restore")
# What the pages with acts offer to do. Nobody is asked about more than that.
_ACTS = {
    "list.html": _JOB_ACTS,
    "find.html": _JOB_ACTS,
    "job.html": _JOB_ACTS,
    "queue.html": ("delete", *_QUEUE_ACTS),
    "queues.html": _QUEUE_ACTS,
    "deleted.html": ("restore",),
    "confirm.html": (),
}


@dataclass(frozen=True, slots=True)
class View:
    """What a page shows.

    :ivar template: the file that shows it.
    :ivar path: the page's path below the root.
    :ivar title: its heading.
    :ivar values: what the template is given.
    """

    template: str
    path: str
    title: str
    values: dict[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class Ask:
    """What somebody asks for, and what every page needs to know.

    :ivar overview: the namespace as it is now.
    :ivar hour: what was counted in the last 60 minutes, the running one last.
    :ivar live: whether only the live parts of the page are asked for, again.
    """

    request: Request
    fields: Fields
    overview: Overview
    hour: list[JobCounts]
    live: bool = False

    @classmethod
    async def of(cls, request: Request, *, live: bool = False) -> Ask:
        """Look at the namespace that a request is about.

        :raises RedisUnusable: when Redis refuses or cannot be reached.
        """
        client = _site(request).client
        return cls(request, query(request), await client.overview(), await client.minutes(60), live)

    @property
    def client(self) -> Client:
        """Looks at the namespace, and steers it."""
        return _site(self.request).client


def _site(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


Viewer = Callable[[Ask], Awaitable[View]]


async def respond(request: Request, viewer: Viewer) -> Response:
    """Return the whole page that a viewer makes."""
    ask = await Ask.of(request)
    view = await viewer(ask)
    return _response(await _render(request, ask.fields, view, ask), view.status)


async def blocks(request: Request, viewer: Viewer) -> dict[str, str]:
    """Return the live parts of the page that a viewer makes, by their ids."""
    ask = await Ask.of(request, live=True)
    return (await _render(request, ask.fields, await viewer(ask), ask)).blocks


async def error_page(request: Request, status: int, title: str, text: str) -> Response:
    """Return the page that says what went wrong. It asks Redis nothing."""
    values = {"text": text, "status": status, "method": request.method, "address": request.scope["path"]}
    view = View("error.html", "", title, values, status=status)
    return _response(await _render(request, Fields({}), view, None), view.status)


@dataclass(slots=True)
class _Rendering:
    """A page's HTML, and that of its live parts."""

    html: str = ""
    blocks: dict[str, str] = field(default_factory=dict)

    def live(self, name: str, kind: str = "", *, caller: Callable[[], Markup]) -> Markup:
        """Note a live part, and return it within its element."""
        self.blocks[name] = body = caller()
        kind_of = Markup(' class="%s"') % kind if kind else Markup()
        return Markup('<section id="%s"%s data-live>%s</section>') % (name, kind_of, body)


async def _render(request: Request, fields: Fields, view: View, ask: Ask | None) -> _Rendering:
    """Return the HTML of a view; without ``ask`` when nothing is known of the namespace."""
    rendering = _Rendering()
    note = flash.note(fields)
    acts = _ACTS.get(view.template, ()) or (("restore",) if note and note.undo else ())
    values = {
        **view.values,
        **await _frame(request, ask, acts),
        "title": view.title,
        "links": Links(request, view.path, _kept(fields)),
        "note": note,
        "script": "actions.js" if view.template in _ACTS else "app.js",
        "site": _site(request),
        "live": rendering.live,
        "now": None if ask is not None and ask.live else time.time(),
        "clock": f"{time.time():.3f}",
        "away": view.status == 503,
        # Where Redis is, nobody learns who may not look.
        "admitted": ask is not None or getattr(request.state, "admitted", False),
    }
    rendering.html = _ENVIRONMENT.get_template(view.template).render(values)
    return rendering


def _kept(fields: Fields) -> dict[str, str]:
    # An empty kind of error is that of jobs without one.
    given = {name: fields.text(name) for name in _KEPT if name in fields}
    return {name: value for name, value in given.items() if value or name == "error"}


async def _frame(request: Request, ask: Ask | None, acts: Iterable[str]) -> dict[str, Any]:
    """Return what stands around every page, and which of these acts the user may do."""
    may = getattr(request.state, "may", None)
    allowed = {action for action in acts if not _site(request).read_only and (may is None or await may(action))}
    frame: dict[str, Any] = {
        "may": lambda *actions: not allowed.isdisjoint(actions),
        "reachable": ask is not None,
        "sizes": Sizes(),
        "alarms": {},
    }
    if ask is not None:
        threats, sizes = ask.overview.threats, ask.overview.sizes
        dead = sum(minute.dead for minute in ask.hour)
        frame |= {"sizes": sizes, "threats": threats}
        frame["alarms"] = {"/": len(threats), "/dead": dead, "/quarantine": sizes.quarantine}
    return frame


def _response(rendering: _Rendering, status: int) -> Response:
    # What UTF-8 cannot hold, no browser could show either.
    body = rendering.html.encode("utf-8", "backslashreplace")
    return Response(body, status, media_type="text/html; charset=utf-8")


def _most_frequent(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: -item[1])[:3]


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_ENVIRONMENT.filters.update(
    visible=formatting.visible,
    plain=formatting.plain,
    short=formatting.short,
    block=formatting.block,
    size=formatting.size,
    number=formatting.number,
    rate=formatting.rate,
    percent=formatting.percent,
    span=formatting.span,
    milliseconds=formatting.milliseconds,
    moment=formatting.moment,
    plural=formatting.plural,
    words=cron_words.in_words,
    tree=json_tree.tree,
    arguments=json_tree.line,
    has_arguments=json_tree.has_arguments,
    day=formatting.day,
    wait=charts.wait,
    run=charts.run,
    top=_most_frequent,
)
_ENVIRONMENT.globals.update(asset=assets.path_of, version=version(), figures=charts.figures)

"""Rendering of pages: from a request through a page handler to HTML."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from .._jobs.membership import batch_of
from .._jobs.option_checks import HIGHEST_MAXIMUM
from .._version import version
from ..client import Client
from ..models.diagnosis import Overview
from ..models.queues import JobCounts, Sizes
from ..options import MOST_WORKERS
from . import assets, charts, cron_words, flow_svg, formatting, json_tree, labels
from .batch_actions import BATCH_ACTIONS
from .context import app_context
from .flash import read_flash
from .links import Links, has_page, job_path
from .params import Params, query_params
from .periodic_actions import PERIODIC_ACTIONS

# The parameters that a link from a page to itself keeps.
_KEPT_PARAMS = (
    "name", "error", "text", "order", "page", "per_page", "cursor", "seen", "counted", "location", "ref", "id", "queue",
    "action", "as", "key", "group", "fold", "state",
)  # fmt: skip
_JOB_ACTIONS = ("retry", "delete", "cancel", "restore")
_QUEUE_ACTIONS = ("pause", "unpause", "cap", "rate", "empty", "forget", "restore")
# The actions that a page offers, by template. `authorize` is called for these only.
_PAGE_ACTIONS = {
    "list.html": _JOB_ACTIONS,
    "find.html": _JOB_ACTIONS,
    "job.html": _JOB_ACTIONS,
    "status.html": (*_JOB_ACTIONS, "signal"),
    "busy.html": ("cancel", "quiet", "unquiet", "resize", "stop"),
    "queue.html": ("delete", "cancel", *_QUEUE_ACTIONS, "pause_tenant", "unpause_tenant", "set_tenant"),
    "queues.html": _QUEUE_ACTIONS,
    "periodic.html": PERIODIC_ACTIONS,
    "periodic_job.html": PERIODIC_ACTIONS,
    "periodic_new.html": PERIODIC_ACTIONS,
    "batch.html": BATCH_ACTIONS,
    "deleted.html": ("restore",),
    "unique.html": ("free",),
    "confirm.html": (),
}


@dataclass(frozen=True, slots=True)
class PageContent:
    """The result of a page handler: a template and its values.

    :ivar template: the template's file name.
    :ivar path: the page's path below the root.
    :ivar title: the page's heading.
    :ivar redirect: the path below the root to which the browser is sent instead; empty to show the page.
    """

    template: str
    path: str
    title: str
    values: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    redirect: str = ""


# A forked or restarted server has another clock.
_PROCESS = secrets.token_hex(4)


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request for a page, with the data that every page shows.

    :ivar overview: the current state of the namespace.
    :ivar hour: the metrics of the last 60 minutes, the running minute last.
    :ivar read_at: identifies this server process, and when it began to read the state, seconds of a clock of its own.
        By that a browser knows which of two states is older.
    :ivar live: whether to render only the live sections again.
    """

    request: Request
    params: Params
    overview: Overview
    hour: list[JobCounts]
    read_at: str
    live: bool = False

    @classmethod
    async def load(cls, request: Request, *, live: bool = False) -> PageRequest:
        """Read the state of the namespace.

        :raises RedisUnavailable: when Redis refuses or cannot be reached.
        """
        client, read_at = app_context(request).client, f"{_PROCESS} {time.monotonic():.6f}"
        return cls(request, query_params(request), await client.overview(), await client.minutes(60), read_at, live)

    @property
    def client(self) -> Client:
        """The client of the namespace."""
        return app_context(self.request).client


PageHandler = Callable[[PageRequest], Awaitable[PageContent]]


async def page_response(request: Request, handler: PageHandler) -> Response:
    """Return a whole page."""
    page = await PageRequest.load(request)
    content = await handler(page)
    if content.redirect:
        return RedirectResponse(Links(request, content.path, {}).to(content.redirect), 303)
    return _response(await _render(request, page.params, content, page), content.status)


async def render_sections(request: Request, handler: PageHandler) -> tuple[dict[str, str], str]:
    """Return the HTML of a page's live sections by id, and when their state was read; see :class:`PageRequest`."""
    page = await PageRequest.load(request, live=True)
    return (await _render(request, page.params, await handler(page), page)).sections, page.read_at


async def error_page(request: Request, status: int, title: str, text: str) -> Response:
    """Return an error page. It does not use Redis."""
    values = {"text": text, "status": status, "method": request.method, "address": request.scope["path"]}
    content = PageContent("error.html", "", title, values, status=status)
    return _response(await _render(request, Params({}), content, None), content.status)


@dataclass(slots=True)
class _RenderedPage:
    """The HTML of a page, and of its live sections by id."""

    html: str = ""
    sections: dict[str, str] = field(default_factory=dict)

    def live(self, name: str, kind: str = "", *, caller: Callable[[], Markup]) -> Markup:
        """Record a live section, and return it within its element."""
        self.sections[name] = body = caller()
        css_class = Markup(' class="%s"') % kind if kind else Markup()
        return Markup('<section id="%s"%s data-live>%s</section>') % (name, css_class, body)


async def _render(request: Request, params: Params, content: PageContent, page: PageRequest | None) -> _RenderedPage:
    """Render a page; ``page`` is ``None`` for an error page, which has no data of the namespace."""
    rendered = _RenderedPage()
    flash = read_flash(params)
    actions = _PAGE_ACTIONS.get(content.template, ()) or (("restore",) if flash and flash.undo else ())
    values = {
        **content.values,
        **await _frame_values(request, page, actions),
        "title": content.title,
        "links": Links(request, content.path, _kept_params(params)),
        "flash": flash,
        "script": "actions.js" if content.template in _PAGE_ACTIONS else "app.js",
        "app": app_context(request),
        "live": rendered.live,
        "now": None if page is not None and page.live else time.time(),
        "server_time": f"{time.time():.3f}",
        "read_at": "" if page is None else page.read_at,
        "unavailable": content.status == 503,
        # Users without permission to view must not learn the URL of Redis.
        "authorized": page is not None or getattr(request.state, "authorized", False),
    }
    rendered.html = _ENVIRONMENT.get_template(content.template).render(values)
    return rendered


def _kept_params(params: Params) -> dict[str, str]:
    # An empty `error` selects the jobs without an error, so it must be kept.
    present = {name: params.text(name) for name in _KEPT_PARAMS if name in params}
    return {name: value for name, value in present.items() if value or name == "error"}


async def _frame_values(request: Request, page: PageRequest | None, actions: Iterable[str]) -> dict[str, Any]:
    """Return the values of the frame around every page, and which of the given actions the user may do."""
    is_allowed = getattr(request.state, "is_allowed", None)
    allowed = {
        action
        for action in actions
        if not app_context(request).read_only and (is_allowed is None or await is_allowed(action))
    }
    frame: dict[str, Any] = {
        "can": lambda *actions: not allowed.isdisjoint(actions),
        "sizes": Sizes(),
        "finished_count": 0,
        "batch_count": 0,
        "alarms": {},
    }
    if page is not None:
        frame["finished_count"] = await page.client._finished_count()
        frame["batch_count"] = await page.client._batch_count()
        problems, sizes = page.overview.problems, page.overview.sizes
        dead = sum(minute.dead for minute in page.hour)
        frame |= {"sizes": sizes, "problems": problems}
        frame["alarms"] = {"/": len(problems), "/dead": dead, "/quarantine": sizes.quarantine}
    return frame


def _response(rendered: _RenderedPage, status: int) -> Response:
    return Response(formatting.escape_surrogates(rendered.html), status, media_type="text/html; charset=utf-8")


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
    plain_text=formatting.plain_text,
    excerpt=formatting.excerpt,
    multiline=formatting.multiline,
    size=formatting.size,
    number=formatting.number,
    amount=formatting.amount,
    rate=formatting.rate,
    percent=formatting.percent,
    duration=formatting.duration,
    milliseconds=formatting.milliseconds,
    time_tag=formatting.time_tag,
    month_day=formatting.month_day,
    plural=formatting.plural,
    cron_words=cron_words.in_words,
    json_tree=json_tree.tree_html,
    json_line=json_tree.line_html,
    has_arguments=json_tree.has_arguments,
    state_symbol=flow_svg.symbol,
    average_wait=charts.average_wait,
    average_run=charts.average_run,
    most_frequent=_most_frequent,
)
_ENVIRONMENT.globals.update(
    asset=assets.path_of,
    version=version(),
    summarize=charts.summarize,
    action_label=labels.action_label,
    location_labels=labels.location_labels,
    has_page=has_page,
    batch_of=batch_of,
    job_path=job_path,
    undo_hint=labels.UNDO_HINT,
    cancel_hint=labels.CANCEL_HINT,
    most_workers=MOST_WORKERS,
    highest_maximum=HIGHEST_MAXIMUM,
    messages=json.dumps(labels.MESSAGES),
)

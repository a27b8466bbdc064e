"""What can be done, each a POST: to jobs, and to queues."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import unquote, urlencode, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from .._admin.query import Criteria
from ..client import Client
from ..errors import UsageError
from ..models import Outcome
from . import audit_log, params
from .auth import VIEW
from .context import Site
from .params import Fields
from .responses import JsonResponse

# Seconds that one request works for a page that asks again and again, and shows how far it has come.
_SLICE = 0.15
# What `set_max_concurrency` takes.
_HIGHEST_CAP = 2**31
# Handles that one request may have.
_MOST_HANDLES = 1_000
# Handles that the log tells.
_LOGGED = 5

Endpoint = Callable[[Request], Awaitable[Response]]
# What is to be done, for the log; and the doing.
Step = tuple[dict[str, object], Awaitable[Outcome]]
# Given what a request asks for, the seconds that there are (None: to the end), and who asks.
Begin = Callable[[Client, Fields, float | None, str], Step]


def guarded(action: str, endpoint: Endpoint) -> Endpoint:
    """Return an endpoint for those only who may do an action; others get HTTPException, and are noted in the log."""

    async def admit_and_serve(request: Request) -> Response:
        try:
            await request.state.admit(action)
        except HTTPException as error:
            audit_log.note_refusal(request, error.detail)
            raise
        return await endpoint(request)

    return admit_and_serve


async def perform(request: Request, action: str, step: Step) -> Outcome:
    """Do something, and note in the log who did it and what came of it."""
    what, doing = step
    try:
        outcome = await doing
    except Exception as error:
        audit_log.note_failure(request, action, what, error)
        raise
    audit_log.note(request, action, what, outcome)
    return outcome


def _retry(client: Client, given: Fields, seconds: float | None, who: str) -> Step:
    place, handles, criteria, cursor, what = _choice(given)
    if handles:
        return what, client.requeue(place, handles)
    return what, client.requeue_matching(place, criteria, cursor=cursor, seconds=seconds)


def _delete(client: Client, given: Fields, seconds: float | None, who: str) -> Step:
    place, handles, criteria, cursor, what = _choice(given)
    if handles:
        return what, client.delete(place, handles, who=who)
    return what, client.delete_matching(place, criteria, cursor=cursor, seconds=seconds, who=who)


def _count(client: Client, given: Fields, seconds: float | None, who: str) -> Step:
    place, handles, criteria, cursor, what = _choice(given)
    if handles:
        raise UsageError("what is counted is all that match: all=1, and no handles")
    return what, client.count(place, criteria, cursor=cursor, seconds=seconds)


def _choice(given: Fields) -> tuple[str, list[str], Criteria, str, dict[str, object]]:
    """Return which jobs are meant: their place, and either handles, or criteria and a cursor; and that for the log.

    A form that says ``all`` means it, whatever else is ticked in it; a program that says both is told so.
    """
    place, handles, cursor = given.needed("place"), given.texts("handle", "handles"), given.text("cursor")
    if given.flag("all"):
        if handles and not given.is_form:
            raise UsageError("give handles, or all; not both")
        criteria = given.criteria()
        sought = {"name": criteria.name, "error": criteria.error, "text": criteria.text or None}
        told = {name: value for name, value in sought.items() if value is not None}
        return place, [], criteria, cursor, {"place": place, "all": 1, **told}
    if not handles:
        raise UsageError("which jobs? Give their handles, or all=1 for all that match")
    if len(handles) > _MOST_HANDLES:
        raise UsageError(f"give {_MOST_HANDLES:,} handles at most, or all=1 for all that match")
    shown = ",".join(handles[:_LOGGED]) + (",…" if len(handles) > _LOGGED else "")
    return place, handles, Criteria(), "", {"place": place, "jobs": len(handles), "handles": shown}


def _restore(client: Client, given: Fields, seconds: float | None, who: str) -> Step:
    return {}, _as_outcome(client.restore(given.needed("undo")))


def _pause(client: Client, given: Fields, seconds: float | None, who: str) -> Step:
    queue = given.needed("queue")
    return {"queue": queue}, _as_outcome(client.pause(queue))


def _unpause(client: Client, given: Fields, seconds: float | None, who: str) -> Step:
    queue = given.needed("queue")
    return {"queue": queue}, _as_outcome(client.unpause(queue))


def _forget(client: Client, given: Fields, seconds: float | None, who: str) -> Step:
    queue = given.needed("queue")
    return {"queue": queue}, _as_outcome(client.forget_job(queue))


def _empty(client: Client, given: Fields, seconds: float | None, who: str) -> Step:
    queue = given.needed("queue")
    return {"queue": queue}, client.empty_queue(queue, who=who)


def _cap(client: Client, given: Fields, seconds: float | None, who: str) -> Step:
    queue, _ = given.needed("queue"), given.needed("cap")
    cap = given.whole("cap", 0, low=-1, high=_HIGHEST_CAP)
    if cap < 0:
        raise UsageError("cap must be 0 for any number of jobs at once, or how many")
    return {"queue": queue, "cap": cap}, _as_outcome(client.set_max_concurrency(queue, cap))


async def _as_outcome(doing: Awaitable[int | None]) -> Outcome:
    done = await doing
    return Outcome(1 if done is None else done, 1)


def _route(path: str, action: str, begin: Begin) -> Route:
    async def endpoint(request: Request) -> Response:
        given = await params.body(request)
        site: Site = request.app.state.site
        step = begin(site.client, given, None if given.is_form else _SLICE, request.state.who)
        name = path.rpartition("/")[2]
        if action == VIEW:
            return JsonResponse(await step[1])
        outcome = await perform(request, name, step)
        return _redirect(request, given.text("back"), name, outcome) if given.is_form else JsonResponse(outcome)

    return Route(path, guarded(action, endpoint), methods=["POST"])


def _redirect(request: Request, back: str, name: str, outcome: Outcome) -> Response:
    """Return where a form's sender is led: to the page it came from, which is told what was done."""
    root: str = request.scope.get("root_path", "")
    parts = urlsplit(back if _is_local(back, root) else f"{root}/")
    told = {"done": name, "n": str(outcome.done)} | ({"undo": outcome.undo} if outcome.undo else {})
    kept = [pair for pair in parts.query.split("&") if pair and pair.partition("=")[0] not in ("done", "n", "undo")]
    return RedirectResponse(f"{parts.path}?{'&'.join([*kept, urlencode(told)])}", 303)


def _is_local(path: str, root: str) -> bool:
    """Tell whether a path leads to a page below the root of this application, as browsers read it."""
    if not path.startswith(f"{root}/") or path.startswith("//") or "\\" in path:
        return False
    if not path.isascii() or not path.isprintable():
        return False
    steps = unquote(path.partition("?")[0].partition("#")[0]).replace("\\", "/").split("/")
    return ".." not in steps and "." not in steps


routes = [
    _route("/api/jobs/retry", "retry", _retry),
    _route("/api/jobs/delete", "delete", _delete),
    _route("/api/jobs/count", VIEW, _count),
    _route("/api/jobs/restore", "restore", _restore),
    _route("/api/queues/pause", "pause", _pause),
    _route("/api/queues/unpause", "unpause", _unpause),
    _route("/api/queues/cap", "cap", _cap),
    _route("/api/queues/empty", "empty", _empty),
    _route("/api/queues/forget", "forget", _forget),
]

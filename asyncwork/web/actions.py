"""Actions on jobs, queues, pools, batches and periodic jobs, each of them a POST."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import unquote, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from .._admin.query import JobQuery
from .._json import codec
from ..client import Client
from ..errors import JobEndedError, PayloadError, UsageError
from ..models.actions import ActionResult, CancelResult
from ..rate import Rate
from . import audit_log, batch_actions, limit_actions, tenant_actions
from .auth import VIEW
from .context import app_context
from .flash import with_flash
from .links import check_has_page
from .params import Params, body_params
from .periodic_actions import PREPARED, PeriodicResult
from .prepared_action import Prepare, PreparedAction, counted, named
from .responses import JsonResponse

# Seconds that one request works on behalf of a page, which repeats it and shows the progress.
_SLICE = 0.15
# Beyond any size of a pool; `Client.resize_pool` refuses less.
_ANY_SIZE = 2**31
# Maximum number of job refs in one request.
_MAX_REFS = 1_000
# Maximum number of ids in one request to cancel; each is searched for.
_MAX_CANCELLED = 100
# Maximum number of refs or ids in a log line.
_LOGGED_REFS = 5

Endpoint = Callable[[Request], Awaitable[Response]]


def require_permission(action: str, endpoint: Endpoint) -> Endpoint:
    """Return an endpoint that first checks the permission for an action, and logs rejected requests.

    The endpoint raises HTTPException when the user may not do the action.
    """

    async def checked(request: Request) -> Response:
        try:
            await request.state.require(action)
        except HTTPException as error:
            audit_log.log_rejection(request, error.detail)
            raise
        return await endpoint(request)

    return checked


async def perform(request: Request, action: str, prepared: PreparedAction) -> ActionResult:
    """Do an action, and log it with its outcome or its error."""
    try:
        outcome = await prepared.outcome
    except Exception as error:
        audit_log.log_failed_action(request, action, prepared.details, error)
        raise
    audit_log.log_action(request, action, prepared.details, outcome)
    return outcome


def _retry(client: Client, params: Params, seconds: float | None, user: str) -> PreparedAction:
    location, refs, job_query, cursor, details = _selection(params)
    if refs:
        return PreparedAction(details, client.retry(location, refs))
    return PreparedAction(details, client.retry_matching(location, job_query, cursor=cursor, seconds=seconds))


def _delete(client: Client, params: Params, seconds: float | None, user: str) -> PreparedAction:
    location, refs, job_query, cursor, details = _selection(params)
    if refs:
        return PreparedAction(details, client.delete(location, refs, who=user))
    deletion = client.delete_matching(location, job_query, cursor=cursor, seconds=seconds, who=user)
    return PreparedAction(details, deletion)


def _count(client: Client, params: Params, seconds: float | None, user: str) -> PreparedAction:
    location, refs, job_query, cursor, details = _selection(params)
    if refs:
        raise UsageError("count needs all=1 and no refs: it counts all matching jobs")
    return PreparedAction(details, client.count(location, job_query, cursor=cursor, seconds=seconds))


def _selection(params: Params) -> tuple[str, list[str], JobQuery, str, dict[str, object]]:
    """Return the selected jobs: their location, and refs or a query with a cursor, and details for the log.

    In a form ``all`` overrides the ticked jobs, because a browser sends both. In JSON it is an error to give both.
    """
    location, refs, cursor = params.required("location"), params.texts("ref", "refs"), params.text("cursor")
    if params.flag("all"):
        if refs and not params.is_form:
            raise UsageError("give refs or all, not both")
        job_query = params.job_query()
        filters = {"name": job_query.name, "error": job_query.error, "text": job_query.text or None}
        given = {name: value for name, value in filters.items() if value is not None}
        return location, [], job_query, cursor, {"location": location, "all": 1, **given}
    if not refs:
        raise UsageError("no jobs selected: give refs, or all=1 for all matching jobs")
    if len(refs) > _MAX_REFS:
        raise UsageError(f"too many refs: give at most {_MAX_REFS:,}, or all=1 for all matching jobs")
    logged = ",".join(refs[:_LOGGED_REFS]) + (",…" if len(refs) > _LOGGED_REFS else "")
    return location, refs, JobQuery(), "", {"location": location, "jobs": len(refs), "refs": logged}


async def _cancel(request: Request) -> Response:
    """Cancel jobs by their ids, or all that match.

    The response says of each id whether the job was waiting, runs, or is gone.
    """
    params, client = await body_params(request), app_context(request).client
    ids, reason = list(dict.fromkeys(params.texts("id", "ids"))), params.text("reason")
    if params.flag("all") or params.texts("ref", "refs"):
        if ids:
            raise UsageError("give ids, or the refs of jobs of a location, or all=1 for all that match")
        return await _cancel_selection(request, params, reason)
    if not ids:
        raise UsageError(
            "no jobs selected: give the id of a job, or several, or refs of a location, or all=1 for all matching jobs"
        )
    if len(ids) > _MAX_CANCELLED:
        raise UsageError(f"too many ids: give at most {_MAX_CANCELLED}")
    for each in ids:
        check_has_page(each)
    results: dict[str, CancelResult] = {}

    async def cancel_each() -> ActionResult:
        errors: list[UsageError] = []
        for job_id in ids:
            try:
                results[job_id] = await client.cancel(job_id, reason, who=request.state.user)
            except UsageError as error:
                # A node that waits in its flow. It must not keep the others from being cancelled.
                errors.append(error)
        if errors:
            raise errors[0]
        return ActionResult(sum(each is not CancelResult.GONE for each in results.values()), len(ids))

    logged = ",".join(ids[:_LOGGED_REFS]) + (",…" if len(ids) > _LOGGED_REFS else "")
    details: dict[str, object] = {"jobs": len(ids), "ids": logged} | ({"reason": reason} if reason else {})
    outcome = await perform(request, "cancel", PreparedAction(details, cancel_each()))
    if params.is_form:
        return _redirect(request, params.text("back"), "cancel", outcome, ids[0] if len(ids) == 1 else "")
    return JsonResponse({"done": outcome.done, "results": results})


async def _cancel_selection(request: Request, params: Params, reason: str) -> Response:
    """Cancel the selected jobs of a location, or all that match."""
    location, refs, job_query, cursor, details = _selection(params)
    details |= {"reason": reason} if reason else {}
    seconds, user, client = None if params.is_form else _SLICE, request.state.user, app_context(request).client
    if refs:
        cancelling = client.cancel_refs(location, refs, reason=reason, who=user)
    else:
        cancelling = client.cancel_matching(
            location, job_query, cursor=cursor, seconds=seconds, reason=reason, who=user
        )
    outcome = await perform(request, "cancel", PreparedAction(details, cancelling))
    return _redirect(request, params.text("back"), "cancel", outcome) if params.is_form else JsonResponse(outcome)


def _signal(client: Client, params: Params, seconds: float | None, user: str) -> PreparedAction:
    job_id, event, text = params.required("id"), params.required("event"), params.text("value").strip()
    try:
        value = codec.decode(text.encode(errors="surrogatepass")) if text else None
    except PayloadError as error:
        raise UsageError(f'value must be JSON, such as 5, "text" or {{"by": "ada"}}: {error}') from None
    # Not the value, which may be a secret.
    return PreparedAction({"id": job_id, "event": event}, _send(client, job_id, event, value))


async def _send(client: Client, job_id: str, event: str, value: object) -> ActionResult:
    try:
        return ActionResult(int(await client.signal(job_id, event, value)), 1)
    except JobEndedError:
        return ActionResult(0, 1)


def _restore(client: Client, params: Params, seconds: float | None, user: str) -> PreparedAction:
    return PreparedAction({}, counted(client.restore(params.required("undo"))))


def _empty(client: Client, params: Params, seconds: float | None, user: str) -> PreparedAction:
    queue = params.required("queue")
    return PreparedAction({"queue": queue}, client.empty(queue, who=user))


def _cap(client: Client, params: Params, seconds: float | None, user: str) -> PreparedAction:
    queue, _ = params.required("queue"), params.required("cap")
    cap = params.maximum("cap", "the maximum number of running jobs, or 0 for no limit")
    return PreparedAction({"queue": queue, "cap": cap}, counted(client.set_max_concurrency(queue, cap)))


def _free(client: Client, params: Params, seconds: float | None, user: str) -> PreparedAction:
    queue, job_id = params.required("queue"), params.required("id")

    async def free() -> ActionResult:
        return ActionResult(int(await client.free_unique(queue, job_id)), 1)

    return PreparedAction({"queue": queue, "id": job_id}, free())


def _max_waiting(client: Client, params: Params, seconds: float | None, user: str) -> PreparedAction:
    queue, wanted = params.required("queue"), None
    if params.text("max_waiting").strip():
        what = "the maximum number of waiting jobs, 0 for no limit, or empty for that of the code"
        wanted = params.maximum("max_waiting", what)
    return PreparedAction({"queue": queue, "max_waiting": wanted}, counted(client.set_max_waiting(queue, wanted)))


def _rate(client: Client, params: Params, seconds: float | None, user: str) -> PreparedAction:
    queue, text = params.required("queue"), params.required("rate").strip()
    details: dict[str, object] = {"queue": queue, "rate": text}
    if text == "code":
        return PreparedAction(details, counted(client.reset_rate(queue)))
    return PreparedAction(details, counted(client.set_rate(queue, None if text == "none" else Rate.parse(text))))


def _resize(client: Client, params: Params, seconds: float | None, user: str) -> PreparedAction:
    pool_id, _ = params.required("pool"), params.required("concurrency")
    size = params.integer("concurrency", 0, low=-_ANY_SIZE, high=_ANY_SIZE)
    return PreparedAction({"pool": pool_id, "concurrency": size}, counted(client.resize_pool(pool_id, size, who=user)))


def _route(path: str, action: str, prepare: Prepare) -> Route:
    async def endpoint(request: Request) -> Response:
        params = await body_params(request)
        seconds = None if params.is_form else _SLICE
        prepared = prepare(app_context(request).client, params, seconds, request.state.user)
        if action == VIEW:
            return JsonResponse(await prepared.outcome)
        outcome = await perform(request, action, prepared)
        if not params.is_form:
            return JsonResponse(outcome)
        # A retried job has a page, and a deleted one does not.
        job_id = params.text("id") if action == "retry" else ""
        if isinstance(outcome, PeriodicResult):
            job_id = outcome.job_id
        return _redirect(request, params.text("back"), action, outcome, job_id)

    return Route(path, require_permission(action, endpoint), methods=["POST"])


def _redirect(request: Request, back: str, action: str, outcome: ActionResult, job_id: str = "") -> Response:
    """Redirect a form's sender to the page it came from, with a message about the finished action."""
    root: str = request.scope.get("root_path", "")
    parts = urlsplit(back if _is_local(back, root) else f"{root}/")
    return RedirectResponse(f"{parts.path}?{with_flash(parts.query, action, outcome, job_id)}", 303)


def _is_local(path: str, root: str) -> bool:
    """Return whether a path leads to a page below the root of this application, as browsers interpret it."""
    if not path.startswith(f"{root}/") or path.startswith("//") or "\\" in path:
        return False
    if not path.isascii() or not path.isprintable():
        return False
    segments = unquote(path.partition("?")[0].partition("#")[0]).replace("\\", "/").split("/")
    return ".." not in segments and "." not in segments


_PREPARED = PREPARED | batch_actions.PREPARED | limit_actions.PREPARED | tenant_actions.PREPARED

routes: list[Route] = [
    _route("/api/jobs/retry", "retry", _retry),
    _route("/api/jobs/delete", "delete", _delete),
    _route("/api/jobs/count", VIEW, _count),
    Route("/api/jobs/cancel", require_permission("cancel", _cancel), methods=["POST"]),
    _route("/api/jobs/restore", "restore", _restore),
    _route("/api/jobs/signal", "signal", _signal),
    _route("/api/queues/pause", "pause", named("queue", lambda client, queue, _: client.pause(queue))),
    _route("/api/queues/unpause", "unpause", named("queue", lambda client, queue, _: client.unpause(queue))),
    _route("/api/queues/cap", "cap", _cap),
    _route("/api/queues/max-waiting", "cap", _max_waiting),
    _route("/api/queues/rate", "rate", _rate),
    _route("/api/queues/empty", "empty", _empty),
    _route("/api/queues/forget", "forget", named("queue", lambda client, queue, _: client.forget(queue))),
    _route("/api/unique/free", "free", _free),
    _route("/api/pools/quiet", "quiet", named("pool", lambda client, pool, user: client.quiet_pool(pool, who=user))),
    _route(
        "/api/pools/unquiet", "unquiet", named("pool", lambda client, pool, user: client.unquiet_pool(pool, who=user))
    ),
    _route("/api/pools/resize", "resize", _resize),
    _route("/api/pools/stop", "stop", named("pool", lambda client, pool, user: client.stop_pool(pool, who=user))),
    *(_route(path, action, prepare) for path, (action, prepare) in _PREPARED.items()),
]

"""Pages about jobs: the lists, the search, a single job, and the confirmation of actions on many jobs."""

from __future__ import annotations

from collections.abc import Iterable

from .._admin.cancel import check_cancellable
from .._admin.query import JobQuery
from .._jobs.ids import is_made
from .._jobs.location import JOB_SETS, queue_name
from .._jobs.names import name_of
from ..errors import UsageError
from ..models.job_record import ErrorKind, JobRecord
from ..models.job_status import JobState
from . import listing
from .batch_pages import confirm_batch
from .formatting import plain_text
from .labels import CANCEL_HINT, LOCATIONS, MAX_UNDO_JOBS, UNDO_HINT, action_label, location_labels
from .links import check_has_page, job_path
from .periodic_pages import confirm_periodic
from .render import PageContent, PageRequest

_PERIODIC = ("reset_periodic", "remove_periodic")
_CONFIRMED = (*_PERIODIC, "cancel_batch")

# Maximum number of characters of a text and of a name that a job's page shows in full.
_MAX_TEXT = 20_000
_MAX_NAME = 200
# Seconds that the confirmation page counts jobs before it is shown.
_COUNT_TIMEOUT = 0.3
_FINISHED_PER_PAGE = 25
# Seconds that a search for an id looks for the job.
_STATUS_TIMEOUT = 0.3

_NO_RETURN = f"A job that waits is removed, and one that runs is asked to end. {CANCEL_HINT}"


async def retries(page: PageRequest) -> PageContent:
    """Show the jobs that failed and will be retried."""
    return await _list_page(
        page,
        "retry",
        about="Failed jobs that run again at their next try.",
        none_yet="No jobs are waiting to be retried.",
        orders=(("oldest", "next first"), ("newest", "last first")),
    )


async def scheduled(page: PageRequest) -> PageContent:
    """Show the jobs that run at a later time."""
    return await _list_page(
        page,
        "scheduled",
        about="Jobs that run at a later time.",
        none_yet="No jobs are scheduled.",
        orders=(("oldest", "next first"), ("newest", "last first")),
    )


async def dead(page: PageRequest) -> PageContent:
    """Show the jobs that failed permanently."""
    return await _list_page(
        page,
        "dead",
        about="Jobs that failed too often. Retry or delete them. Pools delete the oldest, by default beyond 10,000 and "
        "after 180 days.",
        none_yet="No dead jobs.",
        orders=(("newest", "newest first"), ("oldest", "oldest first")),
    )


async def quarantine(page: PageRequest) -> PageContent:
    """Show the payloads that are not jobs."""
    return await _list_page(
        page,
        "quarantine",
        about="Payloads from queues and sets that are not valid jobs. They are not run.",
        none_yet="The quarantine is empty.",
        orders=(),
    )


async def _list_page(
    page: PageRequest, location: str, *, about: str, none_yet: str, orders: tuple[tuple[str, str], ...]
) -> PageContent:
    job_query = page.params.job_query()
    newest_first = location in ("dead", "quarantine")
    found = await listing.list_jobs(page, location, job_query, newest_first=newest_first)
    kinds, names = None, []
    if not page.live:
        by_name = JobQuery(name=job_query.name)
        kinds = await page.client.error_kinds(location, by_name, cursor=page.params.text("kinds"))
        names = _name_counts(kinds.kinds, None if job_query.name is None else name_of(job_query.name))
    values = {
        "listing": found,
        "about": about,
        "none_yet": none_yet,
        "orders": orders,
        "retry": location != "quarantine",
        "kinds": kinds if location != "scheduled" else None,
        "kinds_seen": page.params.integer("kinds_seen", 0, low=0, high=listing.MAX_JOBS),
        "names": names,
        # Whether the kinds and names were counted over some of the jobs only.
        "part": kinds is not None and bool(kinds.cursor or page.params.text("kinds")),
    }
    return PageContent("list.html", LOCATIONS[location].path, LOCATIONS[location].title, values)


def _name_counts(kinds: Iterable[ErrorKind], chosen: str | None) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for kind in kinds:
        for name, count in kind.names.items():
            # A form cannot send back any other name unchanged.
            if plain_text(name) == name:
                counts[name] = counts.get(name, 0) + count
    if chosen is not None:
        counts.setdefault(chosen, 0)
    return sorted(counts.items())


async def finished(page: PageRequest) -> PageContent:
    """Show the jobs that have ended."""
    per_page, number = page.params.per_page(_FINISHED_PER_PAGE), page.params.page()
    found = await page.client.finished(number, per_page=per_page)
    if found.page > found.pages:
        # The list has become shorter since the link was made.
        found = await page.client.finished(found.pages, per_page=per_page)
    return PageContent("finished.html", "/finished", "Finished", {"finished": found})


async def find(page: PageRequest) -> PageContent:
    """Show the result of a search in all locations."""
    text = page.params.text("text").strip()
    if not page.live and not page.params.text("all") and not page.params.text("cursor") and is_made(text):
        status = await page.client.status(text, seconds=_STATUS_TIMEOUT)
        if status.state is not JobState.UNKNOWN:
            return PageContent("find.html", "/find", "Find", redirect=job_path(text))
        if await page.client.batch(text) is not None:
            return PageContent("find.html", "/find", "Find", redirect=f"/batch?id={text}")
    found = await listing.find_jobs(page, text) if text else None
    return PageContent("find.html", "/find", "Find", {"text": text, "listing": found})


async def job(page: PageRequest) -> PageContent:
    """Show one job, or that it is not there any more."""
    location, ref = page.params.required("location"), page.params.required("ref")
    job = await page.client.job(location, ref)
    if job is None and not page.live:
        return PageContent("gone.html", "/job", "Job not found", {"id": page.params.text("id")}, status=404)
    labels = location_labels(location)
    values: dict[str, object] = {
        "job": job,
        "id": page.params.text("id"),
        "up": (labels.title, labels.path),
        "queue": queue_name(location) or None,
    }
    if job is not None:
        texts = (job.args, job.err, job.traceback, job.text, job.reason)
        names = (job.name, job.id, job.unique_key)
        cut = any(len(text) > _MAX_TEXT for text in texts) or any(len(name) > _MAX_NAME for name in names)
        values |= {"history": _history(job), "cut": cut}
    title = "" if job is None else job.name if not job.reason else "Not a job"
    return PageContent("job.html", "/job", title or "(no name)", values)


def _history(job: JobRecord) -> list[tuple[float | None, str, str]]:
    """Return the events in a job's life that its payload shows: time, text, and CSS class."""
    events: list[tuple[float | None, str, str]] = []
    is_queued = bool(queue_name(job.location))
    if job.fails > 1:
        events.append((None, f"Failed {job.fails - 1} more time{'s' if job.fails > 2 else ''} before", "bad"))
    if job.fails and is_queued:
        events.append((job.failed_at or None, "Failed", "bad"))
    if job.enqueued_at:
        # A retry that is put on its queue counts as enqueued then.
        is_back = job.fails > (0 if is_queued else 1)
        events.append((job.enqueued_at, "Back in its queue" if is_back else "Enqueued", "past"))
    if job.fails and not is_queued:
        events.append((job.failed_at or None, "Failed", "bad"))
    text = "Waiting in its queue" if is_queued else location_labels(job.location).time
    events.append((job.at, text, "bad" if job.location in ("dead", "quarantine") else "next"))
    return events


async def confirm(page: PageRequest) -> PageContent:
    """Ask for confirmation before a job is cancelled, before all matching jobs are retried, deleted or cancelled, or
    before a queue is emptied or forgotten, a pool is quieted or stopped, or a periodic job is reset or removed.
    """
    action = page.params.choice("action", "delete", "retry", "cancel", "empty", "forget", "quiet", "stop", *_CONFIRMED)
    if action in _PERIODIC:
        return await confirm_periodic(page, action)
    if action == "cancel_batch":
        return await confirm_batch(page, action)
    if action in ("quiet", "stop"):
        return _confirm_pool(page.params.required("pool"), action)
    if action in ("empty", "forget"):
        return await _confirm_queue(page, action)
    if action == "cancel" and "id" in page.params:
        return _confirm_cancel(page.params.text("id"))
    location, job_query = page.params.required("location"), page.params.job_query()
    if action == "retry" and location not in JOB_SETS:
        raise UsageError(f"location must be {', '.join(JOB_SETS)} to retry jobs, not {location!r}")
    if action == "cancel":
        check_cancellable(location)
    outcome = await page.client.count(location, job_query, cursor=page.params.text("cursor"), seconds=_COUNT_TIMEOUT)
    seen = listing.already_seen(page.params)
    filters = {"name": job_query.name, "error": job_query.error, "text": job_query.text or None}
    total = (await page.client.jobs(location, per_page=1)).total
    queue, labels = queue_name(location), location_labels(location)
    label = action_label(action, location)
    values = {
        "action": action,
        "job_query": job_query,
        "count": outcome.done + page.params.integer("counted", 0, low=0, high=listing.MAX_JOBS),
        "cursor": outcome.cursor,
        "looked": min(total, seen + outcome.looked),
        "total": total,
        "endpoint": f"/api/jobs/{action}",
        "params": {"location": location, "all": 1, **filters},
        "up": labels.path,
        "up_params": {"name": queue} if queue else filters,
        "label": label,
        "sliced": True,
        "text": _warning(action, total),
    }
    question = f"Run all {labels.jobs} now" if label == "Run now" else f"{label} all {labels.jobs}"
    return PageContent("confirm.html", "/confirm", f"{question} that match?" if job_query else f"{question}?", values)


def _warning(action: str, total: int) -> str:
    if action == "retry":
        return "This requeues each job. Jobs that arrive meanwhile stay."
    if action == "cancel":
        return f"{_NO_RETURN} Jobs that arrive meanwhile stay."
    if total > MAX_UNDO_JOBS:
        return f"More than {MAX_UNDO_JOBS:,} jobs: you cannot undo this. Jobs that arrive meanwhile stay."
    return UNDO_HINT


def _confirm_cancel(job_id: str) -> PageContent:
    check_has_page(job_id)
    values: dict[str, object] = {
        "action": "cancel",
        "job_query": None,
        "job_id": job_id,
        "count": None,
        "cursor": "",
        "endpoint": "/api/jobs/cancel",
        "params": {"id": job_id},
        "up": job_path(job_id),
        "up_params": {},
        "label": action_label("cancel"),
        "sliced": False,
        "text": _NO_RETURN,
    }
    return PageContent("confirm.html", "/confirm", "Cancel this job?", values)


def _confirm_pool(pool_id: str, action: str) -> PageContent:
    values: dict[str, object] = {
        "action": action,
        "job_query": None,
        "count": None,
        "cursor": "",
        "endpoint": f"/api/pools/{action}",
        "params": {"pool": pool_id},
        "up": "/busy",
        "up_params": {},
        "label": action_label(action),
        "sliced": False,
        "text": "It fetches no more jobs; its running jobs go on. You can undo this."
        if action == "quiet"
        else "It fetches no more jobs, and ends when its running jobs have ended or its grace period is over. You "
        "cannot undo this.",
    }
    return PageContent("confirm.html", "/confirm", f"{action_label(action)} the pool {pool_id}?", values)


async def _confirm_queue(page: PageRequest, action: str) -> PageContent:
    name = page.params.required("queue")
    registered = {queue.name: queue for queue in page.overview.queues}
    empty = action == "empty"
    values = {
        "action": action,
        "job_query": None,
        "count": (registered[name].count if name in registered else 0) if empty else None,
        "cursor": "",
        "endpoint": f"/api/queues/{action}",
        "params": {"queue": name},
        "up": "/queue" if empty else "/queues",
        "up_params": {"name": name} if empty else {},
        "label": action_label(action),
        "sliced": False,
        "text": f"This deletes all jobs that wait in the queue. {UNDO_HINT}"
        if empty
        else "The queue is no longer shown, and its pause and its limit are removed. It appears again as soon as a job "
        "is enqueued for it, or a pool with a handler for it starts.",
    }
    return PageContent("confirm.html", "/confirm", f"{action_label(action)} the queue {name}?", values)

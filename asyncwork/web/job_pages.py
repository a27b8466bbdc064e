"""The pages of jobs: lists, a search, one job, and the question before much is done at once."""

from __future__ import annotations

from collections.abc import Iterable

from .._admin.query import Criteria
from .._jobs.location import queue_name
from ..errors import UsageError
from ..models import ErrorKind, JobRecord
from . import listing
from .formatting import plain
from .render import Ask, View

# Characters of a text of a job that its page shows; display and json_tree cut there.
_LONG = 20_000
_LONG_NAME = 200
# Seconds that the question counts before it is put.
_COUNTING = 0.3
_MOST = 10**12

_UP = {
    "retry": ("Retries", "/retries"),
    "scheduled": ("Scheduled", "/scheduled"),
    "dead": ("Dead", "/dead"),
    "quarantine": ("Quarantine", "/quarantine"),
}


async def retries(ask: Ask) -> View:
    """Show the jobs that failed and are tried again."""
    return await _shelf(
        ask,
        "/retries",
        "Retries",
        "retry",
        about="Failed, and tried again when their time comes.",
        none_yet="Nothing is to be tried again.",
        orders=(("oldest", "next first"), ("newest", "last first")),
    )


async def scheduled(ask: Ask) -> View:
    """Show the jobs that run at a time."""
    return await _shelf(
        ask,
        "/scheduled",
        "Scheduled",
        "scheduled",
        about="Run when their time comes.",
        none_yet="Nothing is scheduled.",
        orders=(("oldest", "next first"), ("newest", "last first")),
    )


async def dead(ask: Ask) -> View:
    """Show the jobs that failed for good."""
    return await _shelf(
        ask,
        "/dead",
        "Dead",
        "dead",
        about="Failed as often as they may. They stay until somebody retries or deletes them.",
        none_yet="Nothing has died.",
        orders=(("newest", "newest first"), ("oldest", "oldest first")),
    )


async def quarantine(ask: Ask) -> View:
    """Show the bytes that are no jobs."""
    return await _shelf(
        ask,
        "/quarantine",
        "Quarantine",
        "quarantine",
        about="Bytes that were found in a queue or set and are no job. Nobody runs them.",
        none_yet="Nothing was set aside.",
        orders=(),
    )


async def _shelf(
    ask: Ask, path: str, title: str, place: str, *, about: str, none_yet: str, orders: tuple[tuple[str, str], ...]
) -> View:
    criteria = ask.fields.criteria()
    newest_first = place in ("dead", "quarantine")
    found = await listing.look(ask, place, criteria, newest_first=newest_first)
    kinds, names = None, []
    if not ask.live:
        of_name = Criteria(name=criteria.name)
        kinds = await ask.client.error_kinds(place, of_name, cursor=ask.fields.text("kinds"))
        names = _names(kinds.kinds, criteria.name)
    values = {
        "listing": found,
        "about": about,
        "none_yet": none_yet,
        "orders": orders,
        "retry": place != "quarantine",
        "kinds": kinds if place != "scheduled" else None,
        "kinds_seen": ask.fields.whole("kinds_seen", 0, low=0, high=_MOST),
        "names": names,
        # Whether the counts of kinds and names are those of some of the jobs only.
        "part": kinds is not None and bool(kinds.cursor or ask.fields.text("kinds")),
    }
    return View("list.html", path, title, values)


def _names(kinds: Iterable[ErrorKind], chosen: str | None) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for kind in kinds:
        for name, count in kind.names.items():
            # A form can send back no others as they are.
            if plain(name) == name:
                counts[name] = counts.get(name, 0) + count
    if chosen is not None:
        counts.setdefault(chosen, 0)
    return sorted(counts.items())


async def find(ask: Ask) -> View:
    """Show what a search of all places finds."""
    text = ask.fields.text("text").strip()
    found = await listing.find(ask, text) if text else None
    return View("find.html", "/find", "Find", {"text": text, "listing": found})


async def job(ask: Ask) -> View:
    """Show one job, or that it is gone."""
    place, handle = ask.fields.needed("place"), ask.fields.needed("handle")
    job = await ask.client.job(place, handle)
    if job is None and not ask.live:
        return View("gone.html", "/job", "This job is not here any more", {"id": ask.fields.text("id")}, status=404)
    queue = queue_name(place) or None
    up = _UP.get(place, (f"Queue {queue}", "/queue"))
    values: dict[str, object] = {"job": job, "id": ask.fields.text("id"), "up": up, "queue": queue}
    if job is not None:
        texts = (job.args, job.err, job.traceback, job.text, job.fault)
        names = (job.name, job.id, job.unique_key)
        cut = any(len(text) > _LONG for text in texts) or any(len(name) > _LONG_NAME for name in names)
        values |= {"history": _history(job), "long": cut}
    title = "" if job is None else job.name if not job.fault else "Not a job"
    return View("job.html", "/job", title or "(no name)", values)


def _history(job: JobRecord) -> list[tuple[float | None, str, str]]:
    """Return what the payload tells of a job's life: when, what, and of which kind it is."""
    told: list[tuple[float | None, str, str]] = []
    if job.enqueued_at:
        told.append((job.enqueued_at, "Enqueued", "past"))
    if job.fails > 1:
        told.append((None, f"Failed {job.fails - 1} more time{'s' if job.fails > 2 else ''} before", "bad"))
    if job.fails:
        told.append((job.failed_at or None, "Failed", "bad"))
    now = {
        "retry": "Is tried again",
        "scheduled": "Runs",
        "dead": "Died",
        "quarantine": "Set aside",
    }.get(job.place, "Waits in its queue")
    told.append((job.at, now, "bad" if job.place in ("dead", "quarantine") else "next"))
    return told


async def confirm(ask: Ask) -> View:
    """Ask before all that match are retried or deleted, or something is done to a queue."""
    act = ask.fields.choice("act", "delete", "retry", "empty", "forget")
    if act in ("empty", "forget"):
        return await _confirm_queue(ask, act)
    place, criteria = ask.fields.needed("place"), ask.fields.criteria()
    if act == "retry" and place not in ("retry", "scheduled", "dead"):
        raise UsageError("only jobs that failed or are scheduled can be put on their queue")
    outcome = await ask.client.count(place, criteria, cursor=ask.fields.text("cursor"), seconds=_COUNTING)
    seen = listing.already_seen(ask.fields)
    what = {"place": place, "all": 1, "name": criteria.name, "error": criteria.error, "text": criteria.text or None}
    total = (await ask.client.jobs(place, per_page=1)).total
    up = _UP[place][1] if place in _UP else "/queue"
    verb = "Delete" if act == "delete" else "Run now" if place == "scheduled" else "Retry"
    nouns = {"retry": "jobs to be tried again", "scheduled": "scheduled jobs", "quarantine": "payloads set aside"}
    noun = nouns.get(place, "dead jobs" if place == "dead" else f"jobs waiting in {queue_name(place)}")
    values = {
        "act": act,
        "criteria": criteria,
        "count": outcome.done + ask.fields.whole("counted", 0, low=0, high=_MOST),
        "cursor": outcome.cursor,
        "looked": min(total, seen + outcome.looked),
        "total": total,
        "what": what,
        "action": f"/api/jobs/{act}",
        "params": what,
        "up": up,
        "up_params": {"name": queue_name(place)} if queue_name(place) else {**what, "place": None, "all": None},
        "label": verb,
        "sliced": True,
        "text": _warning(act, total),
    }
    verb = f"Run all {noun} now" if place == "scheduled" and act == "retry" else f"{verb} all {noun}"
    return View("confirm.html", "/confirm", f"{verb} that match?" if criteria else f"{verb}?", values)


def _warning(act: str, total: int) -> str:
    if act == "retry":
        return "Each is put on its queue. What comes meanwhile is left alone."
    if total > 1000:
        return "So many cannot be brought back. What comes meanwhile is left alone."
    return "For ten minutes this can be undone."


async def _confirm_queue(ask: Ask, act: str) -> View:
    name = ask.fields.needed("queue")
    known = {queue.name: queue for queue in ask.overview.queues}
    empty = act == "empty"
    values = {
        "act": act,
        "criteria": None,
        "count": (known[name].count if name in known else 0) if empty else None,
        "cursor": "",
        "action": f"/api/queues/{act}",
        "params": {"queue": name},
        "up": "/queue" if empty else "/queues",
        "up_params": {"name": name} if empty else {},
        "label": "Empty" if empty else "Forget",
        "sliced": False,
        "text": "All jobs that wait in it are deleted. For ten minutes this can be undone."
        if empty
        else "It is no longer shown, paused or limited. When somebody enqueues or serves it, it is there again.",
    }
    return View("confirm.html", "/confirm", f"{'Empty' if empty else 'Forget'} the queue {name}?", values)

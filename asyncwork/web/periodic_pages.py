"""Pages about periodic jobs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .._jobs.cron_spec import split_zone
from .._jobs.names import check_job_name
from ..errors import UsageError
from ..models.periodic import PeriodicState
from .labels import action_label
from .params import Params
from .periodic_input import SchedulePreview, preview, read_arguments
from .render import PageContent, PageRequest

# Runs that the page of a periodic job shows.
_RUNS = 50
# Maximum number of characters of arguments that a form holds, because a link has them until they are saved.
MAX_ARGUMENTS = 3_000

_CONFIRMATIONS = {
    "reset_periodic": "The schedule and the arguments that the code says hold again. The edits are lost.",
    "remove_periodic": "It fires no more, and its planned runs are removed. You cannot undo this.",
}


@dataclass(frozen=True, slots=True)
class PeriodicForm:
    """The fields of a form, as they were sent or as they are at first, and what they mean.

    :ivar is_long: whether the arguments in force are too long for the form.
    :ivar checked: when the schedule will fire; ``None`` while nothing was sent, or it is not valid.
    :ivar problem: why what was sent is not valid; empty if it is.
    :ivar sent: what is saved, by parameter.
    """

    name: str
    spec: str
    tz: str
    args: str
    is_long: bool = False
    checked: SchedulePreview | None = None
    problem: str = ""
    sent: dict[str, str] | None = None


async def periodic(page: PageRequest) -> PageContent:
    """Show the periodic jobs."""
    jobs = await page.client.periodic_jobs()
    return PageContent("periodic.html", "/periodic", "Periodic", {"periodic": jobs})


async def periodic_job(page: PageRequest) -> PageContent:
    """Show one periodic job, with its last runs and the form that edits it."""
    key = page.params.required("key")
    state = await _find(page, key)
    if state is None:
        gone = {"text": "It may have been removed, or no pool has it any more."}
        return PageContent("periodic_gone.html", "/periodic/job", "Periodic job not found", gone, status=404)
    values: dict[str, object] = {
        "job": state,
        "runs": await page.client.periodic_runs(key, _RUNS),
        "form": _edit_form(state, page.params),
        "max_arguments": MAX_ARGUMENTS,
    }
    return PageContent("periodic_job.html", "/periodic/job", state.name or "(no name)", values)


async def new_periodic(page: PageRequest) -> PageContent:
    """Show the form that adds a periodic job; with the schedule's next firings once they were asked for."""
    form = _new_form(page.params)
    served = {name for pool in page.overview.heartbeats for name in pool.job_names}
    values = {"form": form, "unserved": bool(form.checked) and form.name not in served, "max_arguments": MAX_ARGUMENTS}
    return PageContent("periodic_new.html", "/periodic/new", "Add a periodic job", values)


async def confirm_periodic(page: PageRequest, action: str) -> PageContent:
    """Ask for confirmation before a periodic job is removed, or its edits are lost."""
    key = page.params.required("key")
    state = await _find(page, key)
    removes = action == "remove_periodic"
    values: dict[str, object] = {
        "action": action,
        "job_query": None,
        "count": None,
        "cursor": "",
        "endpoint": f"/api/periodic/{action.removesuffix('_periodic')}",
        "params": {"key": key},
        "up": "/periodic" if removes else "/periodic/job",
        "up_params": {} if removes else {"key": key},
        "label": action_label(action),
        "sliced": False,
        "text": _CONFIRMATIONS[action],
    }
    name = key if state is None else f"{state.name}, {state.spec}"
    return PageContent("confirm.html", "/confirm", f"{action_label(action)} the periodic job {name}?", values)


async def _find(page: PageRequest, key: str) -> PeriodicState | None:
    return next((each for each in await page.client.periodic_jobs() if each.key == key), None)


def _new_form(params: Params) -> PeriodicForm:
    form = PeriodicForm(
        params.text("name"), params.text("spec").strip(), params.text("tz").strip(), params.text("args")
    )
    if not any(each in params for each in ("name", "spec")):
        return form
    try:
        check_job_name(form.name)
    except UsageError as error:
        return replace(form, problem=str(error))
    return _checked(form, params, {"spec": form.spec, "name": form.name, "tz": form.tz, "args": form.args})


def _edit_form(state: PeriodicState, params: Params) -> PeriodicForm:
    zone, spec = split_zone(state.spec)
    args = "" if state.args == b"null" else state.args.decode(errors="replace")
    is_long = len(args) > MAX_ARGUMENTS
    before = PeriodicForm(state.name, spec, zone or "", "" if is_long else args, is_long)
    if "spec" not in params:
        return before
    form = replace(before, spec=params.text("spec").strip(), tz=params.text("tz").strip(), args=params.text("args"))
    sent = {"spec": form.spec, "tz": form.tz}
    # Arguments that the form did not change stay as they are, which may be more than it shows.
    if form.args.strip() != before.args.strip():
        sent["args"] = form.args
    return _checked(form, params, sent)


def _checked(form: PeriodicForm, params: Params, sent: dict[str, str]) -> PeriodicForm:
    """Return a form with the next firings of its schedule, or with what is wrong with it."""
    try:
        read_arguments(params)
        return replace(form, checked=preview(form.spec, form.tz), sent=sent)
    except UsageError as error:
        return replace(form, problem=str(error))

"""Texts for actions and job locations, worded once for the pages, the confirmations and the messages."""

from __future__ import annotations

from dataclasses import dataclass

from .._jobs.location import queue_name
from .formatting import plural

# The client cannot undo a deletion of more jobs.
MAX_UNDO_JOBS = 1_000

UNDO_HINT = "You can undo this for ten minutes."
CANCEL_HINT = (
    "Unlike a deletion, you cannot undo this. A job that has started meanwhile is asked to end, and programs that wait "
    "for its result learn that it was cancelled."
)

_ACTION_LABELS = {
    "retry": "Retry",
    "delete": "Delete",
    "restore": "Undo",
    "pause": "Pause",
    "unpause": "Unpause",
    "cap": "Set",
    "pause_tenant": "Pause",
    "unpause_tenant": "Unpause",
    "set_tenant": "Set",
    "rate": "Change",
    "empty": "Empty",
    "forget": "Forget",
    "cancel": "Cancel",
    "signal": "Send",
    "quiet": "Quiet",
    "unquiet": "Unquiet",
    "resize": "Resize",
    "stop": "Stop",
    "free": "Free",
    "pause_periodic": "Pause",
    "unpause_periodic": "Unpause",
    "run_periodic": "Run now",
    "add_periodic": "Add",
    "edit_periodic": "Save",
    "reset_periodic": "Reset",
    "remove_periodic": "Remove",
    "cancel_batch": "Cancel the batch",
    "retry_batch": "Retry dead jobs",
}

# The messages after an action; `{}` stands for the number of jobs. The page hands these to actions.js.
MESSAGES = {
    "retry": "{} requeued.",
    "delete": "{} deleted.",
    "empty": "{} deleted.",
    "restore": "{} restored.",
    # For a restore that found nothing.
    "restore_none": "It is too late to undo that.",
    "pause": "Queue paused.",
    "unpause": "Queue unpaused.",
    "cap": "Limit set.",
    "pause_tenant": "Tenant paused.",
    "unpause_tenant": "Tenant unpaused.",
    "set_tenant": "Limits of the tenant set.",
    "rate": "Rate set.",
    "forget": "Queue forgotten.",
    "quiet": "The pool was asked to fetch no more jobs.",
    "unquiet": "The pool was asked to fetch jobs again.",
    "resize": "The pool was asked to run that many jobs at once.",
    "stop": "The pool was asked to stop.",
    "free": "Key freed.",
    "free_none": "That key was free already, or another job holds it.",
    "pause_periodic": "Periodic job paused.",
    "unpause_periodic": "Periodic job unpaused.",
    "run_periodic": "Enqueued, beside the schedule.",
    "add_periodic": "Periodic job added.",
    "edit_periodic": "Periodic job changed.",
    "reset_periodic": "Periodic job reset to what the code says.",
    "remove_periodic": "Periodic job removed.",
    "cancel_batch": "{} cancelled; those that run are asked to end.",
    "cancel_batch_none": "The running jobs are asked to end, and nothing else waits.",
    "retry_batch": "{} requeued.",
    "retry_batch_none": "No job of this batch is dead.",
    "cancel": "{} cancelled, or asked to end.",
    "signal": "Event sent.",
    "signal_none": "Nothing was sent: the job has this event already, goes on without it, or has ended.",
    "cancel_none": "Nothing to cancel: what was chosen has ended already.",
}


def action_label(action: str, location: str = "") -> str:
    """Return the label of an action's button; a retry of a scheduled job is called differently."""
    return "Run now" if (action, location) == ("retry", "scheduled") else _ACTION_LABELS[action]


def message(action: str, count: int) -> str:
    """Return the message about a finished action.

    :raises KeyError: for an unknown action.
    """
    text = MESSAGES[action]
    if not count:
        text = MESSAGES.get(f"{action}_none", text)
    return text.format(plural(count, "job"))


@dataclass(frozen=True, slots=True)
class LocationLabels:
    """Texts for one location of jobs.

    :ivar title: the heading of its page.
    :ivar path: the path of its page below the root.
    :ivar name: its name within a sentence.
    :ivar time: what the time of its jobs means.
    :ivar jobs: the noun for its jobs.
    """

    title: str
    path: str
    name: str
    time: str
    jobs: str


LOCATIONS = {
    "retry": LocationLabels("Retries", "/retries", "retries", "Next try", "jobs waiting to be retried"),
    "scheduled": LocationLabels("Scheduled", "/scheduled", "scheduled", "Runs", "scheduled jobs"),
    "dead": LocationLabels("Dead", "/dead", "dead", "Died", "dead jobs"),
    "quarantine": LocationLabels("Quarantine", "/quarantine", "quarantine", "Quarantined", "quarantined payloads"),
    "busy": LocationLabels("Busy", "/busy", "busy", "Started", "running jobs"),
}


def location_labels(location: str) -> LocationLabels:
    """Return the texts for a location; one that is not in :data:`LOCATIONS` is a queue."""
    queue = queue_name(location)
    return LOCATIONS.get(location) or LocationLabels(
        f"Queue {queue}", "/queue", f"queue {queue}", "Enqueued", f"jobs waiting in {queue}"
    )

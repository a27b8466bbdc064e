"""The options of a batch: its name, its tags, and its callbacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import NamedTuple

from .._json.codec import encode_string
from ..errors import UsageError
from ..unique import Debounce, Throttle
from .enqueue_options import AT_ONCE, EnqueueOptions
from .job_call import JobCall
from .membership import Callback, callback_id
from .names import is_utf8, job_name
from .payload import encode_job
from .printable import shown
from .rule_arguments import options_of

# Characters of a name or a tag, and tags of a batch.
_LONGEST = 200
_MOST_TAGS = 20


class BatchOptions(NamedTuple):
    """The checked options with which a batch is created.

    :ivar callbacks: for each callback that it has, the name of the job and its payload.
    """

    name: str
    tags: tuple[str, ...]
    callbacks: Mapping[Callback, tuple[str, bytes]]

    @property
    def encoded_tags(self) -> bytes:
        """The tags as JSON."""
        return b"[%b]" % b",".join(map(encode_string, self.tags))


def batch_options(
    batch_id: str,
    name: object,
    tags: object,
    callbacks: Mapping[Callback, object | None],
    now: int,
    label: str = "batch",
) -> BatchOptions:
    """Return what a batch is created with.

    :param callbacks: the calls to enqueue; ``None`` for none.
    :param now: epoch seconds.
    :param label: what the messages call it.
    :raises UsageError: when the name or a tag is no short text, or a callback is no call of a job, or has options that
        it cannot have.
    :raises ArgumentEncodingError: when JSON cannot hold the arguments of a callback.
    """
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise UsageError(f"tags must be a list of texts, such as [{shown(tags)}], not {type(tags).__name__}")
    checked = tuple(short_text(each, f"a tag of a {label}", least=1) for each in tags)
    if len(checked) > _MOST_TAGS:
        raise UsageError(f"a {label} has {_MOST_TAGS} tags at most, not {len(checked)}")
    given = {each: call for each, call in callbacks.items() if call is not None}
    return BatchOptions(
        short_text(name, f"the name of a {label}"),
        checked,
        {each: _callback(batch_id, each, call, now) for each, call in given.items()},
    )


def short_text(text: object, label: str, *, least: int = 0) -> str:
    """Return a text if it is short and printable.

    :param label: what the message calls it.
    :param least: characters that it must have.
    :raises UsageError: when it is not.
    """
    if not isinstance(text, str) or not least <= len(text) <= _LONGEST or not text.isprintable() or not is_utf8(text):
        raise UsageError(f"{label} must be a printable text of {least} to {_LONGEST} characters, not {shown(text)}")
    return text


def _callback(batch_id: str, callback: Callback, call: object, now: int) -> tuple[str, bytes]:
    label = f"on_{callback.value}"
    timeout: float | timedelta | None = None
    if isinstance(call, JobCall):
        name, args, options = call.name, call.args, call.options
        timeout = options.timeout
        if options is not AT_ONCE and any(
            getattr(options, each) != getattr(AT_ONCE, each) for each in type(options).__slots__ if each != "timeout"
        ):
            raise UsageError(
                f"{label}: a callback is enqueued when its batch says so, so it has no options but timeout"
            )
    elif isinstance(call, tuple) and len(call) == 2 and (call[1] is None or isinstance(call[1], Mapping)):
        name, args = job_name(call[0]), call[1]
    else:
        raise UsageError(f"{label} must be a task.call(…), or a pair (name, arguments), not {shown(call)}")
    assert not isinstance(timeout, timedelta)
    job, payload = encode_job(name, args, now, job_id=callback_id(batch_id, callback), timeout=timeout)
    return job.name, payload


def check_members(jobs: Iterable[object], first: int = 0) -> None:
    """Check the options of jobs that are to be members of a batch.

    :param first: the position of the first of them, for messages.
    :raises UsageError: when one has an id of its own, is unique by a mapping, or has a rule by which a newer job takes
        its place, also by its type.
    """
    for position, each in enumerate(jobs, first):
        if (options := _options_of(each)) is AT_ONCE:
            continue
        if options.id is not None:
            raise UsageError(f"job {position}: the id of a member says to which batch it belongs: leave out id")
        rule = options.rule
        if isinstance(rule, (Debounce, Throttle)) or (rule is not None and rule.conflict == "replace"):
            raise UsageError(
                f"job {position}: a member of a batch cannot have a rule by which a newer job takes its place: "
                f"{shown(rule)}; enqueue it without the batch, or pass task.options(unique=False).call(…)"
            )
        if isinstance(options.unique, Mapping):
            raise UsageError(
                f"job {position}: a member of a batch cannot be unique by a mapping, because a newer job would run in "
                "its place: pass unique=True"
            )


def _options_of(job: object) -> EnqueueOptions:
    """Return the options of a call, or what the type says of a pair of a task and arguments."""
    if isinstance(job, JobCall):
        return job.options
    if type(job) is tuple and len(job) == 2 and type(job[0]) is not str:
        return options_of(job[0])
    return AT_ONCE

"""Names of jobs and namespaces: which are valid, and suggestions for misspelled ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import lru_cache
from typing import Protocol

from ..errors import UsageError
from .job_call import JobCall
from .printable import shown

# Endings of the keys beside a queue. A job with such a name would have another queue's key, such as its lock, as queue.
_RESERVED_ENDINGS = (":inprogress", ":paused", ":lock", ":lock_info", ":max_concurrency")


def check_namespace(namespace: object) -> str:
    """Return ``namespace`` if keys can start with it.

    :raises UsageError: when it is not text, or UTF-8 cannot hold it.
    """
    if not isinstance(namespace, str):
        raise UsageError(f"namespace must be text, not {shown(namespace)}")
    if not is_utf8(namespace):
        raise UsageError(f"namespace must be text that UTF-8 can hold, without lone surrogates: {shown(namespace)}")
    return namespace


def check_job_name(name: object) -> str:
    """Return ``name`` if it is a valid job name.

    :raises UsageError: when it is not text, is empty, contains a comma (a pool's heartbeat joins names with commas),
        ends like one of the keys beside a queue, or UTF-8 cannot hold it.
    """
    if not isinstance(name, str):
        raise UsageError(f"a job's name must be text, not {type(name).__name__}: {shown(name)}")
    if not name:
        raise UsageError("a job's name must not be empty")
    if "," in name:
        raise UsageError(
            f"a job's name must not have a comma: {shown(name)} (a pool's heartbeat joins names with commas)"
        )
    if name.endswith(_RESERVED_ENDINGS):
        raise UsageError(
            f"a job's name must not end in {', '.join(_RESERVED_ENDINGS)}: {shown(name)} names another key"
        )
    if not is_utf8(name):
        raise UsageError(f"a job's name must be text that UTF-8 can hold: {shown(name)}")
    return name


class Named(Protocol):
    """A job type that is passed in the place of its name, such as a task."""

    @property
    def name(self) -> str:
        """The name of its jobs."""
        ...


def job_name(name: object) -> str:
    """Return the name of a job that is given by its name or its task.

    :raises UsageError: as :func:`check_job_name`, and for a call of a task, whose arguments would be lost.
    """
    if type(name) is str:
        return _check_again(name)
    if isinstance(name, JobCall):
        raise UsageError(f"enqueue takes a name or a task, not a call of {name.name}: pass the call to enqueue_call")
    return check_job_name(name if isinstance(name, str) else getattr(name, "name", name))


# An application enqueues jobs of the same few names.
_check_again = lru_cache(maxsize=1024)(check_job_name)


def name_of(name: str | Named) -> str:
    """Return the name of jobs that exist, or of their queue, which is given by the name or by the task.

    Another program may have used a name that no new job can have, so the name is not checked further.

    :raises UsageError: when it is neither text nor a task.
    """
    text = name if isinstance(name, str) else getattr(name, "name", None)
    if not isinstance(text, str):
        raise UsageError(f"a job or queue is given by its name or its task, not by {shown(name)}")
    return text


def suggestion(name: str, names: Iterable[str]) -> str:
    """Return "Did you mean …?" for the end of a message, or an empty text when no name is similar."""
    similar = difflib.get_close_matches(name, list(names), 1)
    return f". Did you mean {similar[0]!r}?" if similar else ""


def is_utf8(text: str) -> bool:
    """Return whether UTF-8 can hold a text: it has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def limit_of(name: object) -> int | None:
    """Return how many jobs may wait in the queue of a task; ``None`` if it has no limit, or is the name of a job."""
    options = getattr(name, "job_options", None)
    return getattr(options, "max_waiting", 0) or None

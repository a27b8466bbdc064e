"""Which job names and namespaces can be had."""

from __future__ import annotations

from ..errors import UsageError

# The ends of the keys that stand beside a queue's own: a job so named would have another queue's lock for a queue.
_TAKEN_ENDINGS = (":inprogress", ":paused", ":lock", ":lock_info", ":max_concurrency")


def check_namespace(namespace: object) -> str:
    """Return ``namespace`` if keys can begin with it.

    :raises UsageError: when it is no text, or cannot be written as UTF-8.
    """
    if not isinstance(namespace, str):
        raise UsageError(f"namespace must be text, not {namespace!r}")
    if not _is_utf8(namespace):
        raise UsageError(f"namespace must be text that UTF-8 can hold, without lone surrogates: {namespace!r}")
    return namespace


def check_job_name(name: object) -> str:
    """Return ``name`` if a job can be called so.

    :raises UsageError: when it is no text, is empty, has a comma (names are joined by commas in a pool's heartbeat),
        cannot be written as UTF-8, or ends like one of the keys beside a queue.
    """
    if not isinstance(name, str):
        raise UsageError(f"a job's name must be text, not {type(name).__name__}: {name!r}")
    if not name:
        raise UsageError("a job's name must not be empty")
    if "," in name:
        raise UsageError(f"a job's name must not have a comma: {name!r} (a pool lists its names joined by commas)")
    if name.endswith(_TAKEN_ENDINGS):
        raise UsageError(f"a job's name must not end in {', '.join(_TAKEN_ENDINGS)}: {name!r} names another key")
    if not _is_utf8(name):
        raise UsageError(f"a job's name must be text that UTF-8 can hold: {name!r}")
    return name


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

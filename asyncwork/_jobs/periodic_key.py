"""Keys of periodic jobs: ``name:spec``, then ``:digest`` of the arguments if there are any."""

from __future__ import annotations

import hashlib
import re

_DIGEST = re.compile(r":[0-9a-f]{12}\Z")


def periodic_key(name: str, spec: str, args: bytes) -> str:
    """Return the key of a periodic job, which is unique within the namespace.

    :param args: its arguments as JSON; ``null`` for none.
    """
    key = f"{name}:{spec}"
    return key if args == b"null" else f"{key}:{hashlib.sha256(args).hexdigest()[:12]}"


def split_periodic_key(key: str) -> tuple[str, str]:
    """Return the name and the spec of a periodic job's key."""
    # A spec has no colon, but a name may have some.
    name, _, spec = _DIGEST.sub("", key).rpartition(":")
    return name, spec


def has_digest(key: str) -> bool:
    """Return whether a periodic job's key has a digest, so that the job has arguments by its code."""
    return _DIGEST.search(key) is not None

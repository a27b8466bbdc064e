"""Command lines that are shown to be pasted: completed with where Redis is, but for a password."""

from __future__ import annotations

import shlex
from urllib.parse import parse_qs, urlsplit


class Pasting:
    """Completes command lines that begin with ``redis-cli`` or ``asyncwork``.

    :param url: where Redis is, its password masked.
    :param namespace: which is meant.
    :param given: whether the URL was an option, and must be one again; otherwise the environment tells it.
    """

    def __init__(self, url: str, namespace: str, *, given: bool) -> None:
        self._url = url
        self._namespace = namespace
        self._given = given

    def complete(self, command: str) -> str:
        """Return the command line as it can be pasted."""
        program, _, rest = command.partition(" ")
        if program == "redis-cli":
            return " ".join(filter(None, [program, self._redis_options(), rest]))
        # Which namespace a pool has is told where it is made.
        if program == "asyncwork" and not rest.startswith("run "):
            place = ["-n", self._namespace, *(["--redis", self._url] if self._given else [])]
            return f"{command} {shlex.join(place)}"
        return command

    def _redis_options(self) -> str:
        parts = urlsplit(self._url)
        db = parse_qs(parts.query).get("db", ["0"])[0]
        if parts.scheme == "unix":
            return shlex.join(["-s", parts.path, *(["-n", db] if db != "0" else [])])
        if parts.scheme in ("redis", "rediss"):
            return "" if self._url == "redis://localhost:6379/0" else shlex.join(["-u", self._url])
        # SentinelDiscovery and clusters have it now here, now there.
        return ""

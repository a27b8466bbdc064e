"""Completes the command lines that the doctor suggests, so that they can be copied and run."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from .._doctor.wording import shell_word


class CommandHints:
    """Completes command lines that begin with ``redis-cli`` or ``asyncwork`` with the Redis and the namespace.

    :param url: the URL of Redis, its password masked.
    :param namespace: the namespace that the command is for.
    :param given: whether the URL was given as an option, and must be again; otherwise the environment has it.
    """

    def __init__(self, url: str, namespace: str, *, given: bool) -> None:
        self._url = url
        self._namespace = namespace
        self._given = given

    def complete(self, command: str) -> str:
        """Return the command line with the options it needs. Only the password must be filled in by hand."""
        program, _, rest = command.partition(" ")
        if program == "redis-cli":
            return " ".join(filter(None, [program, self._redis_options(), rest]))
        # A pool gets its namespace in the app.
        if program == "asyncwork" and not rest.startswith("run "):
            return f"{command} {_join('-n', self._namespace, *(['--redis', self._url] if self._given else []))}"
        return command

    def _redis_options(self) -> str:
        parts = urlsplit(self._url)
        db = parse_qs(parts.query).get("db", ["0"])[0]
        if parts.scheme == "unix":
            return _join("-s", parts.path, *(["-n", db] if db != "0" else []))
        if parts.scheme in ("redis", "rediss"):
            return "" if self._url == "redis://localhost:6379/0" else _join("-u", self._url)
        # With sentinels or a cluster, the address of the namespace's server may change at any time.
        return ""


def _join(*words: str) -> str:
    return " ".join(map(shell_word, words))

"""The Redis of a development server, which is started again if it dies."""

from __future__ import annotations

from ...embedded import EmbeddedRedis
from ...embedded.threads import run_to_end
from ...errors import EmbeddedRedisError
from .terminal import DevTerminal


class DevRedis:
    """Keeps a server running.

    :param redis: the server, which runs.
    :ivar url: its URL, which may be another after it was started again.
    """

    def __init__(self, redis: EmbeddedRedis, terminal: DevTerminal) -> None:
        self._redis = redis
        self._terminal = terminal
        self._pid = redis.pid
        self._error = ""
        self.url: str = redis.url

    async def restart_if_dead(self) -> None:
        """Start the server again if it has died. Report that, or why it cannot be started."""
        try:
            await run_to_end(self._redis.start)
        except EmbeddedRedisError as error:
            # Once for each reason, because this is tried again and again.
            if str(error) != self._error:
                self._error = str(error)
                self._terminal.write("redis", self._error)
            return
        self._error = ""
        if self._redis.pid != self._pid:
            self._pid, self.url = self._redis.pid, self._redis.url
            self._terminal.write("redis", f"{self.url} died, and was started again (process {self._pid})")

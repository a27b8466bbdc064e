"""A proxy before Redis that loses what it is told to lose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import unquote, urlsplit


class Proxy:
    """Passes bytes to and from a Redis on a unix socket.

    :ivar url: where to reach it.
    :ivar lose_answer: a request for which this is true reaches Redis, but the connection breaks instead of an answer.
    :ivar lose_request: a request for which this is true never reaches Redis; the connection breaks.
    :ivar lost: how many requests or answers were lost.
    """

    def __init__(self, server_url: str) -> None:
        self._socket = unquote(urlsplit(server_url).path)
        self.lose_answer: Callable[[bytes], bool] = lambda request: False
        self.lose_request: Callable[[bytes], bool] = lambda request: False
        self.lost = 0
        self.url = ""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_redis, to_redis = await asyncio.open_unix_connection(self._socket)
        losing = asyncio.Event()
        answers = asyncio.create_task(self._answer(from_redis, writer, losing))
        try:
            while data := await reader.read(1 << 20):
                if self.lose_request(data):
                    self.lost += 1
                    break
                if self.lose_answer(data):
                    losing.set()
                to_redis.write(data)
        except OSError:
            pass
        finally:
            answers.cancel()
            writer.close()
            to_redis.close()
            await asyncio.gather(writer.wait_closed(), to_redis.wait_closed(), return_exceptions=True)

    async def _answer(
        self, from_redis: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while data := await from_redis.read(1 << 20):
                if losing.is_set():
                    self.lost += 1
                    break
                writer.write(data)
            writer.close()


@asynccontextmanager
async def open_proxy(server_url: str) -> AsyncIterator[Proxy]:
    """A proxy before the Redis of this URL."""
    proxy = Proxy(server_url)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()

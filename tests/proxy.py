"""A proxy before Redis that loses, tears, delays and withholds requests and replies, as a test sets it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit


def never(request: bytes) -> bool:
    return False


@dataclass(slots=True, eq=False)
class _Link:
    """A connection of a client, and its other half to Redis."""

    client: asyncio.StreamWriter
    redis: asyncio.StreamWriter
    losing: bool = False
    tearing: bool = False
    keeping: bool = False
    mute: bool = False


class Proxy:
    """Passes bytes to and from a Redis, over connections to a port of its own.

    :ivar url: where to reach it.
    :ivar lose_answer: a request for which this is true reaches Redis, but the connection breaks instead of an answer.
    :ivar lose_request: a request for which this is true never reaches Redis; the connection breaks.
    :ivar tear_answer: a request for which this is true reaches Redis, but the connection breaks inside the answer.
    :ivar keep_answer: a request for which this is true reaches Redis; its answer, and what follows it, waits for
        :meth:`let_go`.
    :ivar mute_request: a request for which this is true never reaches Redis; nothing more passes over its connection.
    :ivar delay: seconds that everything takes on its way, in each direction.
    :ivar lost: how many requests or answers were lost or torn.
    :ivar muted: how many requests were muted.
    :ivar arrived: how many requests have arrived, whatever became of them.
    """

    def __init__(self, server_url: str) -> None:
        self._server_url = urlsplit(server_url)
        self.lose_answer: Callable[[bytes], bool] = never
        self.lose_request: Callable[[bytes], bool] = never
        self.tear_answer: Callable[[bytes], bool] = never
        self.keep_answer: Callable[[bytes], bool] = never
        self.mute_request: Callable[[bytes], bool] = never
        self.delay = 0.0
        self.lost = 0
        self.muted = 0
        self.arrived = 0
        self.url = ""
        self._passing = asyncio.Event()
        self._passing.set()
        self._let_go = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._links: set[_Link] = set()

    @property
    def connected(self) -> bool:
        """Whether connections lead through here that pass something on."""
        return any(not link.mute for link in self._links)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def stop(self) -> None:
        assert self._server is not None
        # A connection that was accepted in the last moment is served some turns of the event loop later. If the server
        # is closed before, its socket is never closed.
        for listening in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listening)
        for _ in range(10):
            await asyncio.sleep(0)
        self._server.close()
        await self.cut()

    async def cut(self) -> None:
        """Break all connections; what is on its way is lost."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in list(self._links):
            self._close(link)

    def half_close(self) -> None:
        """Send all clients the end of the stream, while their requests still reach Redis."""
        for link in self._links:
            with suppress(OSError, RuntimeError):
                link.client.write_eof()

    def mute(self) -> None:
        """Pass nothing on any more over the connections that there are, without closing them. New ones work."""
        for link in self._links:
            link.mute = True

    def let_go(self) -> None:
        """Pass on the answers that were kept; no more are."""
        self._let_go.set()

    def withhold(self) -> None:
        """Pass nothing on, in either direction, without a word."""
        self._passing.clear()

    async def release(self) -> None:
        """Pass on again what comes from now on: what was withheld is lost with its connections."""
        await self.cut()
        self._passing.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A task that is cancelled before it has started runs nothing, so that it cannot do this itself.
        task.add_done_callback(lambda _: writer.close())

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        where = self._server_url
        if where.scheme == "unix":
            return await asyncio.open_unix_connection(unquote(where.path))
        return await asyncio.open_connection(where.hostname, where.port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_redis, to_redis = await self._connect()
        except OSError:
            writer.close()
            return
        link = _Link(writer, to_redis)
        self._links.add(link)
        answers = asyncio.create_task(self._answer(from_redis, link))
        try:
            while data := await reader.read(1 << 20):
                self.arrived += 1
                await self._on_its_way()
                if self.lose_request(data):
                    self.lost += 1
                    break
                link.losing = link.losing or self.lose_answer(data)
                link.tearing = link.tearing or self.tear_answer(data)
                link.keeping = link.keeping or self.keep_answer(data)
                if self.mute_request(data):
                    link.mute = True
                    self.muted += 1
                if not link.mute:
                    to_redis.write(data)
        except OSError:
            pass
        finally:
            writer.close()
            if not link.mute:
                answers.cancel()
                self._close(link)
                await asyncio.gather(writer.wait_closed(), to_redis.wait_closed(), return_exceptions=True)

    def _close(self, link: _Link) -> None:
        self._links.discard(link)
        link.client.close()
        link.redis.close()

    async def _answer(self, from_redis: asyncio.StreamReader, link: _Link) -> None:
        try:
            with suppress(OSError, RuntimeError):  # one side is gone, or has received the end of the stream
                while data := await from_redis.read(1 << 20):
                    await self._on_its_way()
                    if link.keeping:
                        await self._let_go.wait()
                    if link.losing or link.tearing:
                        self.lost += 1
                        if link.tearing:
                            link.client.write(data[: len(data) // 2])
                        break
                    if not link.mute:
                        link.client.write(data)
        finally:
            if not link.mute:
                link.client.close()

    async def _on_its_way(self) -> None:
        if self.delay:
            await asyncio.sleep(self.delay)
        await self._passing.wait()


@asynccontextmanager
async def open_proxy(server_url: str) -> AsyncIterator[Proxy]:
    """A proxy before the Redis of this URL."""
    proxy = Proxy(server_url)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()

"""One wire for many tasks: what they ask at the same time goes out together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from .client import RedisClient
from .connection import Connection
from .discovery import is_elsewhere
from .errors import ConnectionBroken

# Bytes after which nothing more goes into a write, so that who asks little does not wait for all that others ask.
_ENOUGH = 1_000_000
# Seconds without an exchange after which the event loop may not have been told yet that Redis closed the connection.
_SILENCE = 0.1


class Multiplexer:
    """A wire of one event loop that is opened when it is first needed, and anew after it broke.

    While an exchange is under way, what further tasks ask gathers, and goes out with the next one; each is given its
    own answers. When the connection breaks, those are told so whose commands were on their way, and what has gathered
    goes out on a new one. So nothing is sent twice, unless Redis has said that it did not do it.

    :ivar opened: how many connections were opened so far.
    :ivar known_until: job names that Redis was told on this connection, with until when that is enough, of
        ``time.monotonic``; none on a new connection, for Redis may have lost its data.
    """

    def __init__(self, redis: RedisClient) -> None:
        self.loop = asyncio.get_running_loop()
        self._redis = redis
        self.opened = 0
        self.known_until: dict[str, float] = {}
        self._wire: Connection | None = None
        self._opening: asyncio.Task[None] | None = None
        self._exchange: _Exchange | None = None
        self._gathered: deque[_Question] = deque()
        self._answered_at = 0.0

    async def ask(self, commands: Sequence[bytes]) -> list[Any]:
        """Send packed commands in one go and return as many answers; an error reply is an exception in its place.

        They are sent once more when all of them were refused because Redis is elsewhere.

        :raises RedisError, OSError: when Redis cannot be reached, the connection broke, or no answer came in time.
        """
        answers = await self._ask_once(commands)
        if all(map(is_elsewhere, answers)):
            answers = await self._ask_once(commands)
        return answers

    async def close(self) -> None:
        """Close the connection; who waits for answers gets an error. What is asked afterwards opens a new one."""
        closed = ConnectionBroken("this connection was closed")
        self._give_up(closed)
        if self._exchange is not None:
            self._exchange.on_error(closed)
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()

    def abandon(self) -> None:
        """End the connection of an event loop that was closed."""
        if self._wire is not None:
            self._wire.abandon()

    async def _ask_once(self, commands: Sequence[bytes]) -> list[Any]:
        await self._redis.keep_up()
        if self._exchange is None and self._wire is not None and self.loop.time() - self._answered_at > _SILENCE:
            # A loop that did not run meanwhile hears of its connections in this turn, after those whose turn it is.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        question = _Question(commands, self.loop.create_future())
        self._gathered.append(question)
        if self._exchange is None:
            self._go_on()
        if question.sent:
            return await question.answers
        try:
            async with asyncio.timeout(self._redis.patience):
                return await question.answers
        except TimeoutError as error:
            raise TimeoutError(str(error) or f"{'no answer' if question.sent else 'not sent'} in time") from error

    def _go_on(self) -> None:
        """Send what has gathered, if there is a wire to send it on; else open one."""
        if self._wire is None or self._wire.closed:
            if self._gathered and self._opening is None:
                self._opening = self.loop.create_task(self._open(), name="asyncwork opens a connection to enqueue")
        elif questions := self._next_questions():
            self._exchange = _Exchange(self._wire, questions, self._go_on_after)

    def _next_questions(self) -> list[_Question]:
        questions, size = [], 0
        while self._gathered and size < _ENOUGH:
            question = self._gathered.popleft()
            # Who was cancelled meanwhile, or ran out of time, asks nothing any more.
            if not question.answers.done():
                question.sent = True
                questions.append(question)
                size += sum(map(len, question.commands))
        return questions

    def _go_on_after(self) -> None:
        self._exchange = None
        self._answered_at = self.loop.time()
        if self._gathered:
            self._go_on()

    async def _open(self) -> None:
        try:
            self._wire = await self._redis.open(self._redis.patience, with_scripts=False)
            if self._wire.closed:
                raise self._wire.error
            self.opened += 1
            self.known_until.clear()
        except Exception as error:
            self._give_up(error)
        except asyncio.CancelledError:
            self._give_up(ConnectionBroken("this connection was closed before it was open"))
            raise
        finally:
            self._opening = None
        self._go_on()

    def _give_up(self, error: Exception) -> None:
        """Tell those who have gathered that nothing of what they ask was sent."""
        while self._gathered:
            self._gathered.popleft().fail(error)


class _Question:
    """What one task asks."""

    __slots__ = ("answers", "commands", "sent")

    def __init__(self, commands: Sequence[bytes], answers: asyncio.Future[list[Any]]) -> None:
        self.commands = commands
        self.answers = answers
        self.sent = False

    def fail(self, error: Exception) -> None:
        if not self.answers.done():
            self.answers.set_exception(error)


class _Exchange:
    """What was sent in one write: for the wire, what waits for all the answers to it.

    :param ended: called when they are there, or it failed.
    """

    def __init__(self, wire: Connection, questions: Sequence[_Question], ended: Callable[[], None]) -> None:
        self._wire = wire
        self._questions = questions
        self._ended = ended
        self._done = False
        commands = [command for question in questions for command in question.commands]
        wire.send(commands, len(commands), self)

    def on_replies(self, answers: list[Any]) -> None:
        if self._done:
            return
        self._done = True
        at = 0
        for question in self._questions:
            start, at = at, at + len(question.commands)
            if not question.answers.done():
                question.answers.set_result(answers[start:at])
        self._ended()

    def on_error(self, error: Exception) -> None:
        if self._done:
            return
        self._done = True
        self._wire.drop()
        for question in self._questions:
            question.fail(error)
        self._ended()

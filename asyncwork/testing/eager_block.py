"""The block in which jobs run in place, for ``with`` and ``async with``."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager

from .eager_resources import EagerResources
from .records import JobRun
from .redirection import EagerMode, Redirection


class EagerBlock(AbstractContextManager[list[JobRun], None], AbstractAsyncContextManager[list[JobRun], None]):
    """Runs jobs in place during a ``with`` or ``async with`` block; see :meth:`Jobs.eager`."""


class PoolEagerBlock(EagerBlock):
    """Runs the jobs of one pool in place during a block."""

    def __init__(self, redirection: Redirection, mode: EagerMode, resources: EagerResources) -> None:
        self._redirection = redirection
        self._mode = mode
        self._resources = resources
        self._before: EagerMode | None = None

    def __enter__(self) -> list[JobRun]:
        """Return the attempts of the block, which is empty at first."""
        return self._begin(can_await=False)

    def __exit__(self, *error: object) -> None:
        """End the block, and close the resources that it has opened.

        :raises BaseException: the error with which they could not be closed.
        """
        self._redirection.eager = self._before
        self._resources.close()

    async def __aenter__(self) -> list[JobRun]:
        """Return the attempts of the block, which is empty at first."""
        return self._begin(can_await=True)

    async def __aexit__(self, *error: object) -> None:
        """End the block, and close the resources that it has opened.

        :raises BaseException: the error with which they could not be closed.
        """
        self._redirection.eager = self._before
        await self._resources.aclose()

    def _begin(self, *, can_await: bool) -> list[JobRun]:
        self._resources.begin(can_await=can_await)
        self._before, self._redirection.eager = self._redirection.eager, self._mode
        return self._mode.ran

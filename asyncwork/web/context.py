"""What every page and every answer of the web UI is made of."""

from __future__ import annotations

from dataclasses import dataclass

from ..client import Client


@dataclass(frozen=True)
class Site:
    """One namespace, as the web UI shows it; ``request.app.state.site`` holds it.

    :ivar title: what the pages call themselves.
    :ivar read_only: whether nobody may act.
    """

    client: Client
    title: str
    read_only: bool = False

"""State that all request handlers of one web application share."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from ..client import Client


@dataclass(frozen=True)
class AppContext:
    """The client and the settings of a web application; ``app.state.context`` holds it.

    :ivar title: the name that the pages show.
    :ivar read_only: whether all actions are disabled.
    """

    client: Client
    title: str
    read_only: bool = False


def app_context(request: Request) -> AppContext:
    """Return the context of the application that handles a request."""
    context: AppContext = request.app.state.context
    return context

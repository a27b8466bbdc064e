"""Puts the web UI together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware

from .._admin.query import Redact
from ..client import Client
from ..errors import UsageError
from . import actions, api, assets, gocraft_api, health, pages, sse
from .auth import LOOPBACK_NAMES, Authority, Authorize, Credentials, Hosts
from .context import Site
from .errors import EXPECTED, answer_error
from .security import Guard


def create_app(
    url: str | None = None,
    *,
    client: Client | None = None,
    namespace: str | None = None,
    title: str | None = None,
    auth: str | None = None,
    read_only: bool = False,
    authorize: Authorize | None = None,
    redact: Redact | None = None,
    hosts: Iterable[str] | None = None,
) -> Starlette:
    """Return the web UI of a namespace, an ASGI application that runs alone or mounted in another one::

        app.mount("/work", asyncwork.web.create_app(namespace="my_app"))

    It lets in everybody who reaches it unless ``auth`` or ``authorize`` say otherwise. Without either it answers only
    to the names ``localhost``, ``127.0.0.1``, ``[::1]``, and to ``hosts``. ``/healthz`` below it answers everybody, and
    tells only whether Redis answers. Connections to Redis are opened when first
    needed, and closed by its lifespan. An application that it is mounted in does not run that: it may
    pass a ``client`` of its own, and close it.

    :param url, namespace, redact: as for :class:`~asyncwork.client.Client`.
    :param client: to be used instead of one made of these; whoever made it closes it.
    :param title: what the pages call themselves; the namespace unless given.
    :param auth: ``user:password``, asked for by HTTP Basic authentication; use it over TLS only.
    :param read_only: whether nothing can be changed.
    :param authorize: given a request and an action (``view``, ``retry``, ``delete``, ``restore``, ``pause``,
        ``unpause``, ``cap``, ``empty`` or ``forget``), returns True or the user's name to allow it, False or None not
        to; it may be async. It is asked once for what a request wants; for which controls a page is to have it is
        asked about once a minute. HTTPException that it raises becomes the answer.
    :param hosts: the names by which the server may be called, without ports, beside those of this machine; ``["*"]``
        for any. ``None`` is none without ``auth`` and ``authorize``, and any with one of them. They keep out the pages
        of other sites, which may have their own name lead to this server, and would then pass for pages of it.
    :raises UsageError: when one of these cannot be right.
    """
    if isinstance(hosts, str):
        raise UsageError(f"hosts must be a list of names, such as [{hosts!r}]")
    if client is None:
        client = made = Client(url, namespace=namespace, redact=redact)
    elif url is not None or redact is not None:
        raise UsageError("url and redact are the client's: give them to it, or give no client")
    else:
        made = None

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            if made is not None:
                await made.close()

    guarded = auth is not None or authorize is not None
    guard = Middleware(
        Guard,
        authority=Authority(authorize, read_only),
        credentials=None if auth is None else Credentials(auth),
        hosts=None if hosts is None and guarded else Hosts([*LOOPBACK_NAMES, *(hosts or ())]),
    )
    app = Starlette(
        routes=[
            health.route(),
            *pages.routes,
            *sse.routes,
            *assets.routes,
            *gocraft_api.routes,
            *api.routes,
            *actions.routes,
        ],
        middleware=[guard],
        exception_handlers=dict.fromkeys(EXPECTED, answer_error),
        lifespan=lifespan,
    )
    # It would redirect by the Host header, whatever that says.
    app.router.redirect_slashes = False
    app.state.site = Site(client=client, title=client.namespace if title is None else title, read_only=read_only)
    return app

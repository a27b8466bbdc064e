"""Builds the web application from its routes and middleware."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware

from .._admin.redaction import Redact
from ..client import Client
from ..errors import UsageError
from . import actions, api, assets, gocraft_api, health, job_status, metrics, pages, sse
from .auth import LOOPBACK_NAMES, AllowedHosts, Authorize, Authorizer, Credentials
from .context import AppContext
from .errors import HANDLED_ERRORS, error_response
from .security import SecurityMiddleware

_ROUTES = [
    *pages.routes,
    *job_status.routes,
    *sse.routes,
    *assets.routes,
    *gocraft_api.routes,
    *actions.routes,
    *api.routes,
]


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
    open_metrics: bool = False,
) -> Starlette:
    """Return the web UI of a namespace, an ASGI application that runs alone or mounted in another application::

        app.mount("/work", asyncwork.web.create_app(namespace="my_app"))

    Without ``auth`` and ``authorize`` it admits every request that reaches it, but accepts only the host names
    ``localhost``, ``127.0.0.1``, ``[::1]`` and those in ``hosts``. ``/healthz`` answers every request and reports
    only whether Redis replies, with status 200 or 503. ``/metrics`` has the metrics of the namespace for Prometheus.
    Connections to Redis open on first use, and the application's lifespan closes them. An application that mounts this
    one does not run its lifespan; it can pass its own ``client`` and close that.

    :param url, namespace, redact: as for :class:`~asyncwork.client.Client`.
    :param client: a client to use instead of a new one; the caller closes it.
    :param title: the name that the pages show; the namespace by default.
    :param auth: ``user:password``, required by HTTP Basic authentication; use it over TLS only.
    :param read_only: whether to disable all actions.
    :param authorize: given a request and an action (``view``, ``retry``, ``delete``, ``restore``, ``pause``,
        ``unpause``, ``cap``, ``rate``, ``empty``, ``forget``, ``cancel``, ``signal``, ``pause_tenant``,
        ``unpause_tenant``, ``set_tenant``, ``quiet``, ``unquiet``, ``resize``, ``stop``, ``free``, ``pause_periodic``,
        ``unpause_periodic``, ``run_periodic``, ``add_periodic``, ``edit_periodic``, ``reset_periodic``,
        ``remove_periodic``, ``cancel_batch`` or ``retry_batch``), returns True or the user's name to allow it, False
        or None to refuse it; it may be async. It is called once for the action of a request. For the controls that a
        page shows, its result is cached for a minute. An HTTPException that it raises becomes the response.
    :param hosts: allowed host names of the server, without ports, in addition to the three above; ``["*"]`` allows
        any. ``None`` allows no others without ``auth`` and ``authorize``, and any with one of them. The check
        prevents DNS rebinding: another site can point its own name at this server, and its pages would then have the
        same origin as these.
    :param open_metrics: whether ``/metrics`` answers every request, as ``/healthz`` does. It shows names and numbers.
    :raises UsageError: when an argument is invalid.
    """
    if isinstance(hosts, str):
        raise UsageError(f"hosts must be a list of names, such as [{hosts!r}]")
    if client is None:
        client = own_client = Client(url, namespace=namespace, redact=redact)
    elif url is not None or redact is not None:
        raise UsageError("pass url and redact to the client, or pass no client")
    else:
        own_client = None

    protected = auth is not None or authorize is not None
    security = Middleware(
        SecurityMiddleware,
        authorizer=Authorizer(authorize, read_only),
        credentials=None if auth is None else Credentials(auth),
        hosts=None if hosts is None and protected else AllowedHosts([*LOOPBACK_NAMES, *(hosts or ())]),
        open_paths={health.PATH, metrics.PATH} if open_metrics else {health.PATH},
    )
    app = Starlette(
        routes=[health.route(), metrics.route(), *_ROUTES],
        middleware=[security],
        exception_handlers=dict.fromkeys(HANDLED_ERRORS, error_response),
        lifespan=_lifespan(own_client),
    )
    # Starlette would redirect to whatever host the Host header names.
    app.router.redirect_slashes = False
    title = client.namespace if title is None else title
    app.state.context = AppContext(client=client, title=title, read_only=read_only)
    return app


def _lifespan(own_client: Client | None) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """Return a lifespan that closes the application's own client."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            if own_client is not None:
                await own_client.close()

    return lifespan

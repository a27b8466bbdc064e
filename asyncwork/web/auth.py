"""Authentication and authorization of requests: passwords, host names, origins, proxies and permissions."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import inspect
import ipaddress
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request

from ..errors import UsageError
from .formatting import quoted

VIEW = "view"
ACTIONS = (
    *(VIEW, "retry", "delete", "restore", "pause", "unpause", "cap", "rate", "empty", "forget", "cancel", "signal"),
    *("pause_tenant", "unpause_tenant", "set_tenant"),
    *("quiet", "unquiet", "resize", "stop", "free"),
    *("pause_periodic", "unpause_periodic", "run_periodic", "add_periodic", "edit_periodic"),
    *("reset_periodic", "remove_periodic", "cancel_batch", "retry_batch"),
)

# Given a request and one of ACTIONS, returns True or the user's name to allow the action, False or None to refuse it.
Authorize = Callable[[Request, str], bool | str | Awaitable[bool | str | None] | None]

# Seconds for which results of `authorize` are cached for the controls of pages, and the maximum number of users.
_CACHED_FOR = 60.0
_MAX_CACHED = 1_000
# Headers that describe one request and not its sender.
_PER_REQUEST_HEADERS = frozenset(
    (
        *(b"accept", b"cache-control", b"connection", b"content-length", b"content-type", b"if-none-match"),
        *(b"last-event-id", b"origin", b"pragma", b"priority", b"purpose", b"referer", b"sec-fetch-dest"),
        *(b"sec-fetch-mode", b"sec-fetch-site", b"sec-fetch-user", b"sec-purpose", b"traceparent", b"tracestate"),
        *(b"upgrade-insecure-requests", b"x-request-id"),
    )
)

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
# Maximum number of characters of a host name in a text.
_MAX_NAME = 255
_HOST = re.compile(r"[a-z0-9_.-]+|\[[0-9a-f:.]+\]")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class Credentials:
    """User name and password of the only user.

    :param text: ``user:password``; the password may contain colons.
    :raises UsageError: when the text has another form.
    """

    def __init__(self, text: str) -> None:
        user, _, password = text.partition(":")
        self.user: str = user
        if not self.user or not password:
            raise UsageError("auth must be user:password, and neither may be empty")
        try:
            self._digest = _digest(text.encode())
        except UnicodeEncodeError:
            raise UsageError("auth must be valid UTF-8") from None

    def matches(self, header: str) -> bool:
        """Return whether an ``Authorization`` header has these credentials, in constant time."""
        scheme, _, encoded = header.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        return hmac.compare_digest(_digest(given), self._digest)


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


class AllowedHosts:
    """Host names that requests may address, as protection against DNS rebinding.

    Another site can point its own name at this machine, and its pages would then have the same origin as ours.

    :param names: host names without ports; ``*`` allows any.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(_bare_host(name) for name in names)

    def allows(self, header: str) -> bool:
        """Return whether a ``Host`` header has one of these names, with any port."""
        return "*" in self._names or _bare_host(header) in self._names

    @staticmethod
    def error_text(header: str) -> str:
        """Return the text for a client whose ``Host`` header is not allowed."""
        name = _bare_host(header)
        if not _HOST.fullmatch(name) or len(name) > _MAX_NAME:
            return f"{quoted(name, _MAX_NAME)} is not a valid host name."
        return (
            f"Host {name!r} is not allowed; add it with asyncwork web --allow-host {name}, or with "
            f"create_app(hosts=[{name!r}]) in an application that mounts this one."
        )


def _bare_host(host: str) -> str:
    name = host.strip().lower()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    if name.count(":") > 1:
        return f"[{name}]"
    return name.partition(":")[0].removesuffix(".")


def is_same_origin(headers: Headers) -> bool:
    """Return whether a request comes from a page of the same origin, or from no page at all.

    Schemes are not compared, because they differ behind a proxy that terminates TLS.
    """
    sites = headers.getlist("sec-fetch-site")
    if sites:
        return all(site.lower() in ("same-origin", "none") for site in sites)
    host = headers.get("host", "")
    return all(_is_origin_of(origin, host) for origin in headers.getlist("origin"))


def cross_origin_text(headers: Headers) -> str:
    """Return the text for a client whose request :func:`is_same_origin` rejects."""
    text = "only pages of this server may do this"
    origin, host = headers.get("origin", ""), headers.get("host", "")
    if headers.getlist("sec-fetch-site") or _split(origin) is None:
        return text
    return (
        f"{text}: the request comes from a page at {quoted(origin, _MAX_NAME)}, but is addressed to "
        f"{quoted(host, _MAX_NAME)}. If there is a proxy, let it pass on the host name (nginx: `proxy_set_header Host "
        "$http_host;`), or let it send X-Forwarded-Host and start `asyncwork web` with --trusted-proxy ADDRESS"
    )


def _is_origin_of(origin: str, host: str) -> bool:
    parts = _split(origin)
    if parts is None:
        return False
    ending = f":{_DEFAULT_PORTS.get(parts.scheme, '')}"
    return parts.netloc.lower().removesuffix(ending) == host.lower().removesuffix(ending)


def _split(origin: str) -> SplitResult | None:
    """Return the parts of an origin, or ``None`` when it is invalid."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts if parts.netloc else None


class TrustedProxies:
    """Proxies whose headers are trusted to name the client's address and the requested host.

    :param addresses: IP addresses and networks such as ``10.0.0.0/8``.
    :raises UsageError: when an address is invalid.
    """

    def __init__(self, addresses: Iterable[str]) -> None:
        self._networks = [_network(address) for address in addresses]

    def __contains__(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self._networks)

    def client(self, headers: Headers, peer: str) -> str:
        """Return the client's address: the last one in ``X-Forwarded-For`` that is not a trusted proxy."""
        hops = [each.strip() for value in headers.getlist("x-forwarded-for") for each in value.split(",")]
        return next((each for each in reversed(hops) if each and each not in self), peer)

    @staticmethod
    def host(headers: Headers) -> str | None:
        """Return the host that the client requested from the proxy, the last ``X-Forwarded-Host``, if there is one."""
        names = [each.strip() for value in headers.getlist("x-forwarded-host") for each in value.split(",")]
        return next((each for each in reversed(names) if each), None)


def _network(address: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(address.strip())
    except ValueError:
        raise UsageError(
            f"{address!r} is not a proxy's address; give an IP address such as 127.0.0.1, or a network such as "
            "10.0.0.0/8 with no host bits set"
        ) from None


class Authorizer:
    """Decides which actions a request may do.

    :param authorize: called for each action; ``None`` allows all of them.
    :param read_only: whether to refuse everything but ``view``.
    """

    def __init__(self, authorize: Authorize | None, read_only: bool) -> None:
        self._authorize = authorize
        self._read_only = read_only
        self._cache = _PermissionCache()

    async def is_allowed(self, request: Request, action: str) -> bool:
        """Return whether to offer an action on a page; :meth:`require` decides when the action is requested.

        Results of ``authorize`` are cached for a minute for requests that identify the same sender.
        """
        if self._authorize is None or self._read_only:
            return action == VIEW or not self._read_only
        permissions = self._cache.permissions(request)
        if action not in permissions:
            try:
                await self._user_for(request, action)
            except HTTPException:
                permissions[action] = False
            else:
                permissions[action] = True
        return permissions[action]

    async def require(self, request: Request, action: str) -> None:
        """Check that a request may do an action, and store the user's name in ``request.state.user``.

        :raises HTTPException: when the user may not do it (403), or the application is read-only (405).
        """
        request.state.user = await self._user_for(request, action) or request.state.user
        request.state.authorized = True

    async def _user_for(self, request: Request, action: str) -> str:
        """Return the name that ``authorize`` gives, or an empty text."""
        if self._read_only and action != VIEW:
            raise HTTPException(405, "this web UI is read-only: actions are disabled", {"Allow": ""})
        if self._authorize is None:
            return ""
        result = self._authorize(request, action)
        if inspect.isawaitable(result):
            result = await result
        if result is True:
            return ""
        if isinstance(result, str) and result:
            return result
        raise HTTPException(403, f"you do not have permission to {action} here")


class _PermissionCache:
    """Allowed actions by sender, kept for a minute. Requests have the same sender if address and headers are equal."""

    def __init__(self) -> None:
        self._by_sender: dict[bytes, tuple[float, dict[str, bool]]] = {}

    def permissions(self, request: Request) -> dict[str, bool]:
        """Return the cached permissions of a request's sender by action; the caller adds new ones to them."""
        headers = [
            b"%b: %b" % each for each in sorted(request.headers.raw) if each[0].lower() not in _PER_REQUEST_HEADERS
        ]
        client = request.client.host if request.client else ""
        sender, now = _digest(b"\n".join([client.encode("utf-8", "replace"), *headers])), time.monotonic()
        since, permissions = self._by_sender.get(sender, (0.0, {}))
        if not permissions or now - since >= _CACHED_FOR:
            self._by_sender.pop(sender, None)
            permissions = {}
            while len(self._by_sender) >= _MAX_CACHED:
                del self._by_sender[next(iter(self._by_sender))]
            self._by_sender[sender] = now, permissions
        return permissions

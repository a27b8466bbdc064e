"""Who may do what: decisions on what a request says of itself."""

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

VIEW = "view"
ACTIONS = (VIEW, "retry", "delete", "restore", "pause", "unpause", "cap", "empty", "forget")

# Given a request and one of ACTIONS, returns True, or who asks; False or None when it may not be.
Authorize = Callable[[Request, str], bool | str | Awaitable[bool | str | None] | None]

# Seconds for which a page's controls go by what `authorize` said before, and of how many users that is kept.
_KNOWN_FOR = 60.0
_MOST_KNOWN = 1_000
# Headers that tell of a request and not of who sends it.
_OF_ONE_REQUEST = frozenset(
    (
        *(b"accept", b"cache-control", b"connection", b"content-length", b"content-type", b"if-none-match"),
        *(b"last-event-id", b"origin", b"pragma", b"priority", b"purpose", b"referer", b"sec-fetch-dest"),
        *(b"sec-fetch-mode", b"sec-fetch-site", b"sec-fetch-user", b"sec-purpose", b"traceparent", b"tracestate"),
        *(b"upgrade-insecure-requests", b"x-request-id"),
    )
)

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
# Characters of a host's name.
_LONGEST_NAME = 255
_HOST = re.compile(r"[a-z0-9_.-]+|\[[0-9a-f:.]+\]")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class Credentials:
    """The one user and password that there are.

    :param text: ``user:password``; the password may have colons.
    :raises UsageError: when it is not of that form.
    """

    def __init__(self, text: str) -> None:
        self.user, _, password = text.partition(":")
        if not self.user or not password:
            raise UsageError("auth must be user:password, with neither of them empty")
        try:
            self._digest = _digest(text.encode())
        except UnicodeEncodeError:
            raise UsageError("auth must be text that UTF-8 can hold") from None

    def fit(self, header: str) -> bool:
        """Tell whether the value of an ``Authorization`` header has them; how long that takes tells nothing of them."""
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


class Hosts:
    """The names by which a server may be called.

    A page of somebody else's may have its own name lead to this machine, and would then pass for a page of ours.

    :param names: without ports; ``*`` stands for any.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(_bare_host(name) for name in names)

    def fit(self, header: str) -> bool:
        """Tell whether the value of a ``Host`` header is one of them, on whatever port."""
        return "*" in self._names or _bare_host(header) in self._names

    @staticmethod
    def refusal(header: str) -> str:
        """Return what to tell somebody who calls the server by a name that is not allowed."""
        name = _bare_host(header)[:_LONGEST_NAME]
        if not _HOST.fullmatch(name):
            return f"Host {name!a} is no host name."
        return (
            f"Host {name!r} is not allowed; add it: create_app(hosts=[{name!r}]) where an application mounts this, "
            f"else asyncwork web --allow-host {name}."
        )


def _bare_host(host: str) -> str:
    name = host.strip().lower()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    if name.count(":") > 1:
        return f"[{name}]"
    return name.partition(":")[0].removesuffix(".")


def is_own_request(headers: Headers) -> bool:
    """Tell whether a request that would change something comes from a page of ours, or from no page at all.

    Schemes are not compared: behind a proxy they differ.
    """
    sites = headers.getlist("sec-fetch-site")
    if sites:
        return all(site.lower() in ("same-origin", "none") for site in sites)
    host = headers.get("host", "")
    return all(_is_origin_of(origin, host) for origin in headers.getlist("origin"))


def foreign_origin_advice(headers: Headers) -> str:
    """Return what to tell who sent a request that :func:`is_own_request` refuses."""
    text = "only pages of this server may do this"
    origin, host = headers.get("origin", "")[:_LONGEST_NAME], headers.get("host", "")[:_LONGEST_NAME]
    if headers.getlist("sec-fetch-site") or _split(origin) is None:
        return text
    return (
        f"{text}: the request comes from a page at {origin!a}, but calls this server {host!a}. If a proxy "
        "stands between them, have it pass on the name: `proxy_set_header Host $http_host;` in nginx; or have it send "
        "X-Forwarded-Host, and start `asyncwork web` with --trusted-proxy and the proxy's address"
    )


def _is_origin_of(origin: str, host: str) -> bool:
    parts = _split(origin)
    if parts is None:
        return False
    ending = f":{_DEFAULT_PORTS.get(parts.scheme, '')}"
    return parts.netloc.lower().removesuffix(ending) == host.lower().removesuffix(ending)


def _split(origin: str) -> SplitResult | None:
    """Return the parts of an origin, or ``None`` when it is none."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts if parts.netloc else None


class Proxies:
    """The proxies whose word counts on who calls, and by which name.

    :param addresses: IP addresses and networks such as ``10.0.0.0/8``.
    :raises UsageError: when one is neither.
    """

    def __init__(self, addresses: Iterable[str]) -> None:
        self._networks = [_network(address) for address in addresses]

    def __contains__(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in network for network in self._networks)

    def client(self, headers: Headers, peer: str) -> str:
        """Return the address of the client: the last that ``X-Forwarded-For`` names and that is no trusted proxy."""
        steps = [each.strip() for value in headers.getlist("x-forwarded-for") for each in value.split(",")]
        return next((each for each in reversed(steps) if each and each not in self), peer)

    @staticmethod
    def host(headers: Headers) -> str | None:
        """Return the name by which the client called the proxy, if that says so: the last ``X-Forwarded-Host``."""
        names = [each.strip() for value in headers.getlist("x-forwarded-host") for each in value.split(",")]
        return next((each for each in reversed(names) if each), None)


def _network(address: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(address.strip())
    except ValueError:
        raise UsageError(
            f"{address!r} is no address of a proxy: an IP address such as 127.0.0.1, or a network such as 10.0.0.0/8 "
            "whose bits behind the slash are zero"
        ) from None


class Authority:
    """Decides who may do what.

    :param authorize: asked each time; ``None`` when everybody may who has come so far.
    :param read_only: whether nobody may do anything but look.
    """

    def __init__(self, authorize: Authorize | None, read_only: bool) -> None:
        self._authorize = authorize
        self._read_only = read_only
        self._known = _Known()

    async def may(self, request: Request, action: str) -> bool:
        """Tell whether a request's user may do something: for what a page offers, not for what is done.

        ``authorize`` is asked once a minute for those whose requests say the same of themselves.
        """
        if self._authorize is None or self._read_only:
            return action == VIEW or not self._read_only
        known = self._known.of(request)
        if action not in known:
            try:
                await self._ask(request, action)
            except HTTPException:
                known[action] = False
            else:
                known[action] = True
        return known[action]

    async def admit(self, request: Request, action: str) -> None:
        """Let a request do something, and note who asks as ``request.state.who``.

        :raises HTTPException: when it may not (403), or when nothing may be changed here (405).
        """
        request.state.who = await self._ask(request, action) or request.state.who
        request.state.admitted = True

    async def _ask(self, request: Request, action: str) -> str:
        """Return the name that ``authorize`` gives, if it gives one."""
        if self._read_only and action != VIEW:
            raise HTTPException(405, "nothing can be changed here: this is a read-only view", {"Allow": ""})
        if self._authorize is None:
            return ""
        answer = self._authorize(request, action)
        if inspect.isawaitable(answer):
            answer = await answer
        if answer is True:
            return ""
        if isinstance(answer, str) and answer:
            return answer
        raise HTTPException(403, f"you may not {action} here")


class _Known:
    """What users may do, by what their requests say of themselves, for a minute."""

    def __init__(self) -> None:
        self._of: dict[bytes, tuple[float, dict[str, bool]]] = {}

    def of(self, request: Request) -> dict[str, bool]:
        """Return what is known of the user of a request, by action; whoever learns more adds it there."""
        told = [b"%b: %b" % each for each in sorted(request.headers.raw) if each[0].lower() not in _OF_ONE_REQUEST]
        client = request.client.host if request.client else ""
        key, now = _digest(b"\n".join([client.encode("utf-8", "replace"), *told])), time.monotonic()
        since, known = self._of.get(key, (0.0, {}))
        if not known or now - since >= _KNOWN_FOR:
            self._of.pop(key, None)
            known = {}
            while len(self._of) >= _MOST_KNOWN:
                del self._of[next(iter(self._of))]
            self._of[key] = now, known
        return known

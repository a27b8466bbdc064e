"""Who may do what: decisions on what a request says of itself."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import inspect
from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request

from ..errors import UsageError

VIEW = "view"
ACTIONS = (VIEW, "retry", "delete", "restore", "pause", "unpause", "cap", "empty", "forget")

# Given a request and one of ACTIONS, returns True, or who asks; False or None when it may not be.
Authorize = Callable[[Request, str], bool | str | Awaitable[bool | str | None] | None]

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
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

    :param names: without ports.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(_bare_host(name) for name in names)

    def fit(self, header: str) -> bool:
        """Tell whether the value of a ``Host`` header is one of them, on whatever port."""
        return _bare_host(header) in self._names


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


def _is_origin_of(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if not parts.netloc:
        return False
    ending = f":{_DEFAULT_PORTS.get(parts.scheme, '')}"
    return parts.netloc.lower().removesuffix(ending) == host.lower().removesuffix(ending)


class Authority:
    """Decides who may do what.

    :param authorize: asked each time; ``None`` when everybody may who has come so far.
    :param read_only: whether nobody may do anything but look.
    """

    def __init__(self, authorize: Authorize | None, read_only: bool) -> None:
        self._authorize = authorize
        self._read_only = read_only

    async def may(self, request: Request, action: str) -> bool:
        """Tell whether a request's user may do something."""
        try:
            await self._ask(request, action)
        except HTTPException:
            return False
        return True

    async def admit(self, request: Request, action: str) -> None:
        """Let a request do something, and note who asks as ``request.state.who``.

        :raises HTTPException: when it may not (403), or when nothing may be changed here (405).
        """
        request.state.who = await self._ask(request, action) or request.state.who

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

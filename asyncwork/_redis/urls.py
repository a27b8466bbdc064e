"""Parse the URL of a Redis."""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio.connection import parse_url

from .._jobs.error_text import text_of
from .._jobs.printable import shown
from ..errors import UsageError

DEFAULT_URL = "redis://localhost:6379/0"

_FORMS = (
    "redis://[user:password@]host:port/db, rediss://… for TLS, unix:///path/to/socket?db=0, "
    "redis+sentinel://[user:password@]host:port[,host:port…]/service[/db] or "
    "redis+cluster://[user:password@]host:port[,host:port…]/"
)
_PLAIN = re.compile(r"(redis|rediss|unix)://")
_DISCOVERED = re.compile(
    r"(?P<scheme>rediss?)\+(?P<kind>sentinel|cluster)://((?P<user>[^/?#]*)@)?(?P<nodes>[^/?#@]*)"
    r"(?P<path>/[^?#]*)?(\?(?P<query>[^#]*))?"
)
_NODE = re.compile(r"(\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:]+))(:(?P<port>[0-9]{1,5}))?")


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError("a whole number")
    return int(text)


def _count(text: str) -> int:
    if not _number(text):
        raise ValueError("1 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError("a number of seconds above 0")
    return seconds


def _yes_or_no(text: str) -> bool:
    if text.lower() not in ("yes", "true", "1", "on", "no", "false", "0", "off"):
        raise ValueError("yes or no")
    return text.lower() in ("yes", "true", "1", "on")


def _text(text: str) -> str:
    return text


def _one_word(text: str) -> str:
    if not re.fullmatch("[!-~]+", text):
        raise ValueError("printable ASCII without spaces")
    return text


def _cert_reqs(text: str) -> str:
    if text not in ("none", "optional", "required"):
        raise ValueError("none, optional or required")
    return text


def _tls_version(text: str) -> ssl.TLSVersion:
    found = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}.get(text)
    if found is None:
        raise ValueError("1.2 or 1.3")
    return found


# The options of a URL's query, with their parsers, which raise ValueError with what is expected. redis-py's others are
# missing on purpose: replies must be bytes, and a time limit on each read would cut off blocking pops.
_OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "db": _number,
    "username": _text,
    "password": _text,
    "client_name": _one_word,
    "max_connections": _count,
    "socket_connect_timeout": _seconds,
    "socket_keepalive": _yes_or_no,
}
_TLS_OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "ssl_ca_certs": _text,
    "ssl_ca_path": _text,
    "ssl_ca_data": _text,
    "ssl_cert_reqs": _cert_reqs,
    "ssl_certfile": _text,
    "ssl_check_hostname": _yes_or_no,
    "ssl_ciphers": _text,
    "ssl_keyfile": _text,
    "ssl_min_version": _tls_version,
    "ssl_password": _text,
}
_SENTINEL_OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "sentinel_user": _text,
    "sentinel_password": _text,
    "sentinel_ssl": _yes_or_no,
}
# A unix socket has no keepalive.
_TCP_ONLY = ("socket_keepalive",)

# Host and port.
NodeAddress = tuple[str, int]


class Kind(Enum):
    """How Redis is found: at the URL's address, by asking sentinels, or by asking the nodes of a cluster."""

    PLAIN = "plain"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


_PORTS = {Kind.SENTINEL: 26379, Kind.CLUSTER: 6379}


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed URL.

    :ivar options: redis-py's options of a connection to Redis; with host and port, or a path, for a plain URL.
    :ivar nodes: the sentinels, or nodes of a cluster, to ask for Redis's address; empty for a plain URL.
    :ivar service: the name of the master's service among the sentinels.
    :ivar node_options: redis-py's options of a connection to one of the nodes, without its address.
    """

    kind: Kind
    options: Mapping[str, Any]
    nodes: tuple[NodeAddress, ...] = ()
    service: str = ""
    node_options: Mapping[str, Any] = field(default_factory=dict)


class _Malformed(ValueError):
    """A URL whose mistake can be described without revealing a password."""


def mask(url: str) -> str:
    """Return a Redis URL without its passwords, even if it is malformed. A password may contain @."""
    url = re.sub(r"([?&]\w*pas\w*=)[^&]*", r"\1***", url)
    return re.sub(r"(//[^/@:]*:|^[^/@:]*:(?!//)).*@", r"\1***@", url)


def read(url: str) -> Target:
    """Return a URL parsed.

    :raises UsageError: when it has none of the supported forms, or an unknown option; the message lists those that
        exist.
    """
    why = ""
    try:
        if found := _DISCOVERED.fullmatch(url):
            return _read_discovered(**{name: text or "" for name, text in found.groupdict().items()})
        if _PLAIN.match(url):
            return _read_plain(url)
    except _Malformed as error:
        why = f": {error}"
    except (ValueError, AttributeError, TypeError):
        pass
    raise UsageError(f"not a Redis URL: {shown(mask(text_of(url)))}{why}; write {_FORMS}")


def checked(url: str) -> str:
    """Return ``url`` unchanged if it is a Redis URL.

    :raises UsageError: as :func:`read`.
    """
    read(url)
    return url


def _read_plain(url: str) -> Target:
    parts = urlsplit(url)
    options = _read_options(parts.query, encrypted=parts.scheme == "rediss")
    if parts.scheme == "unix":
        if misplaced := [name for name in _TCP_ONLY if name in options]:
            raise _Malformed(f"a unix socket has no option {misplaced[0]}")
    elif (db := parts.path.strip("/")) and not db.isdecimal():
        raise _Malformed(f"{unquote(db)!r} is not a database number")
    address: dict[str, Any] = dict(parse_url(parts._replace(query="").geturl()))
    # As in redis-py, an option takes precedence over the path, and a user or password before the @ over an option.
    credentials: dict[str, Any] = {name: address[name] for name in ("username", "password") if name in address}
    return Target(Kind.PLAIN, {**address, **options, **credentials})


def _read_options(
    query: str, *, encrypted: bool, more: Mapping[str, Callable[[str], Any]] | None = None
) -> dict[str, Any]:
    """Return the options of a URL's query, parsed.

    :raises _Malformed: when there is no such option, or its value is wrong.
    """
    readers = {**_OPTIONS, **(_TLS_OPTIONS if encrypted else {}), **(more or {})}
    options = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        reader = readers.get(name)
        if reader is None:
            tls = " (TLS options need rediss://)" if name in _TLS_OPTIONS else ""
            raise _Malformed(f"there is no option {name!r}{tls}; the options are {', '.join(readers)}")
        if name in options:
            raise _Malformed(f"option {name} is given twice")
        try:
            options[name] = reader(text)
        except ValueError as error:
            raise _Malformed(f"option {name} must be {error}, not {text!r}") from None
    return options


def _read_discovered(scheme: str, kind: str, user: str, nodes: str, path: str, query: str) -> Target:
    by = Kind(kind)
    addresses = tuple(_read_node(node, _PORTS[by]) for node in nodes.split(","))
    # Everything but the addresses and the path is as in a plain URL.
    options: dict[str, Any] = dict(parse_url(f"{scheme}://{user}@host/"))
    del options["host"]
    more = _SENTINEL_OPTIONS if by is Kind.SENTINEL else None
    options = {**_read_options(query, encrypted=scheme == "rediss", more=more), **options}
    encrypted = {name: options[name] for name in options if name.startswith("ssl_") or name == "connection_class"}
    if by is Kind.CLUSTER:
        if path.strip("/") not in ("", "0") or options.pop("db", 0):
            raise _Malformed("a cluster has database 0 only")
        credentials = {name: options[name] for name in ("username", "password") if name in options}
        return Target(by, options, addresses, node_options=encrypted | credentials)
    service, _, db = path.removeprefix("/").partition("/")
    if not service:
        raise _Malformed("it names no service; write it after the sentinels, as in …:26379/mymaster")
    if db:
        if not db.isdecimal():
            raise _Malformed(f"{db!r} is not a database number")
        options["db"] = int(db)
    node_options = _take_sentinel_options(options)
    if node_options.pop("ssl", False):
        node_options |= encrypted
    return Target(by, options, addresses, unquote(service), node_options)


def _read_node(text: str, port: int) -> NodeAddress:
    found = _NODE.fullmatch(text)
    if found is None:
        # The message must not quote it: in a malformed URL it may be a part of the password.
        raise _Malformed("the part between // and the next / must be host:port, or several of them separated by commas")
    port = int(found["port"] or port)
    if not 0 < port < 65536:
        raise _Malformed(f"{port} is not a port")
    return found["v6"] or unquote(found["host"]), port


def _take_sentinel_options(options: dict[str, Any]) -> dict[str, Any]:
    """Remove the options for connections to the sentinels, and return them under redis-py's names."""
    names = {"sentinel_user": "username", "sentinel_password": "password", "sentinel_ssl": "ssl"}
    return {names[name]: options.pop(name) for name in names if name in options}

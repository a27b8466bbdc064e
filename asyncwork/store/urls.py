"""What the URL of a Redis says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import unquote

from redis.asyncio.connection import parse_url, to_bool

from ..errors import UsageError

DEFAULT_URL = "redis://localhost:6379/0"

_FORMS = (
    "redis://[user:password@]host:port/db, rediss://… for TLS, unix:///path/to/socket?db=0, "
    "redis+sentinel://[user:password@]host:port[,host:port…]/service[/db] or "
    "redis+cluster://[user:password@]host:port[,host:port…]/"
)
_PLAIN = re.compile(r"(redis|rediss|unix)://")
_BY_OTHERS = re.compile(
    r"(?P<scheme>rediss?)\+(?P<kind>sentinel|cluster)://((?P<user>[^/?#]*)@)?(?P<nodes>[^/?#@]*)"
    r"(?P<path>/[^?#]*)?(\?(?P<query>[^#]*))?"
)
_NODE = re.compile(r"(\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:]+))(:(?P<port>[0-9]{1,5}))?")

# A host and its port.
Address = tuple[str, int]


class Kind(Enum):
    """Who tells where Redis is: the URL itself, sentinels, or the nodes of a cluster."""

    PLAIN = "plain"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


_PORTS = {Kind.SENTINEL: 26379, Kind.CLUSTER: 6379}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads.

    :ivar options: what a connection to Redis is made with, as redis-py names it; with host and port, or a path, where
        the URL itself tells them.
    :ivar nodes: who is to be asked where it is, if others tell that.
    :ivar service: by which name sentinels know the master.
    :ivar asking: what a connection to one of the nodes is made with, beside its address.
    """

    kind: Kind
    options: Mapping[str, Any]
    nodes: tuple[Address, ...] = ()
    service: str = ""
    asking: Mapping[str, Any] = field(default_factory=dict)


class _Malformed(ValueError):
    """A URL with something wrong that can be told without telling a password."""


def mask(url: str) -> str:
    """Return a Redis URL without its passwords, also one that is malformed. A password may have an @."""
    url = re.sub(r"([?&]\w*pas\w*=)[^&]*", r"\1***", url)
    return re.sub(r"(//[^/@:]*:|^[^/@:]*:(?!//)).*@", r"\1***@", url)


def read(url: str) -> Target:
    """Return where a URL leads.

    :raises UsageError: when it has another form than one of those it may have; the message lists them.
    """
    why = ""
    try:
        if found := _BY_OTHERS.fullmatch(url):
            return _read_by_others(**{name: text or "" for name, text in found.groupdict().items()})
        if _PLAIN.match(url):
            return Target(Kind.PLAIN, parse_url(url))
    except _Malformed as error:
        why = f": {error}"
    except (ValueError, AttributeError, TypeError):
        pass
    raise UsageError(f"not a Redis URL: {mask(str(url))!r}{why}; write {_FORMS}")


def _read_by_others(scheme: str, kind: str, user: str, nodes: str, path: str, query: str) -> Target:
    by = Kind(kind)
    addresses = tuple(_read_node(node, _PORTS[by]) for node in nodes.split(","))
    # What is neither address nor place is as in a plain URL.
    options: dict[str, Any] = dict(parse_url(f"{scheme}://{user}@host/?{query}"))
    del options["host"]
    encrypted = {name: options[name] for name in options if name.startswith("ssl_") or name == "connection_class"}
    if by is Kind.CLUSTER:
        if path.strip("/") not in ("", "0") or options.pop("db", 0):
            raise _Malformed("a cluster has database 0 only")
        credentials = {name: options[name] for name in ("username", "password") if name in options}
        return Target(by, options, addresses, asking=encrypted | credentials)
    service, _, db = path.removeprefix("/").partition("/")
    if not service:
        raise _Malformed("it names no service, which follows the sentinels, as in …:26379/mymaster")
    if db:
        if not db.isdecimal():
            raise _Malformed(f"{db!r} is no number of a database")
        options["db"] = int(db)
    asking = _take_sentinel_options(options)
    if asking.pop("ssl", False):
        asking |= encrypted
    return Target(by, options, addresses, unquote(service), asking)


def _read_node(text: str, port: int) -> Address:
    found = _NODE.fullmatch(text)
    if found is None:
        # Not what it is: in a URL that is malformed this may be a part of the password.
        raise _Malformed("what is between // and the next / must be host:port, or several with commas between")
    port = int(found["port"] or port)
    if not 0 < port < 65536:
        raise _Malformed(f"{port} is no port")
    return found["v6"] or unquote(found["host"]), port


def _take_sentinel_options(options: dict[str, Any]) -> dict[str, Any]:
    """Take out what is for the connections to the sentinels, and return it as redis-py names it."""
    asking: dict[str, Any] = {}
    for name in [name for name in options if name.startswith("sentinel_")]:
        value = options.pop(name)
        match name:
            case "sentinel_user":
                asking["username"] = value
            case "sentinel_password":
                asking["password"] = value
            case "sentinel_ssl":
                asking["ssl"] = to_bool(value)
            case _:
                raise _Malformed(f"there is no option {name}, but sentinel_user, sentinel_password and sentinel_ssl")
    return asking

"""Redis URLs: what they may contain, and which errors name what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection

from asyncwork import UsageError
from asyncwork._redis.keys import hash_tag
from asyncwork._redis.urls import Kind, Target, mask, read
from asyncwork.cli import settings


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("redis://host:1/2", Target(Kind.PLAIN, {"host": "host", "port": 1, "db": 2})),
        (
            "redis://me:p%40ss@host/2?db=3&username=you&socket_keepalive=no&max_connections=4",
            Target(
                Kind.PLAIN,
                {
                    "host": "host",
                    "db": 3,
                    "username": "me",
                    "password": "p@ss",
                    "socket_keepalive": False,
                    "max_connections": 4,
                },
            ),
        ),
        (
            "unix:///run/a%20b.sock?db=1&socket_connect_timeout=2.5",
            Target(
                Kind.PLAIN,
                {
                    "connection_class": UnixDomainSocketConnection,
                    "path": "/run/a b.sock",
                    "db": 1,
                    "socket_connect_timeout": 2.5,
                },
            ),
        ),
        ("redis+sentinel://a/jobs", Target(Kind.SENTINEL, {}, (("a", 26379),), "jobs")),
        (
            "redis+sentinel://me:p%40ss@a:1,10.0.0.2,[::1]:3/my%20jobs/4?sentinel_user=he&sentinel_password=a%26b",
            Target(
                Kind.SENTINEL,
                {"username": "me", "password": "p@ss", "db": 4},
                (("a", 1), ("10.0.0.2", 26379), ("::1", 3)),
                "my jobs",
                {"username": "he", "password": "a&b"},
            ),
        ),
        (
            "rediss+sentinel://a/jobs?ssl_ca_certs=/ca.pem&sentinel_ssl=no",
            Target(
                Kind.SENTINEL, {"connection_class": SSLConnection, "ssl_ca_certs": "/ca.pem"}, (("a", 26379),), "jobs"
            ),
        ),
        (
            "rediss+sentinel://a/jobs?sentinel_ssl=yes",
            Target(
                Kind.SENTINEL,
                {"connection_class": SSLConnection},
                (("a", 26379),),
                "jobs",
                {"connection_class": SSLConnection},
            ),
        ),
        ("redis+cluster://a", Target(Kind.CLUSTER, {}, (("a", 6379),))),
        (
            "rediss+cluster://:secret@a:1,b/0?client_name=x",
            Target(
                Kind.CLUSTER,
                {"password": "secret", "client_name": "x", "connection_class": SSLConnection},
                (("a", 1), ("b", 6379)),
                "",
                {"password": "secret", "connection_class": SSLConnection},
            ),
        ),
    ],
)
def test_a_url_says_where_it_leads(url: str, target: Target) -> None:
    assert read(url) == target
    assert settings.url(url) == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis+sentinel://a:1", "it names no service"),
        ("redis+sentinel://a:1/", "it names no service"),
        ("redis+sentinel://a:1/jobs/first", "'first' is not a database number"),
        ("redis+sentinel:///jobs", "must be host:port, or several"),
        ("redis+sentinel://a:1,/jobs", "must be host:port, or several"),
        ("redis+sentinel://:se/cret@a:1/jobs", "must be host:port, or several"),
        ("redis+sentinel://a:65536/jobs", "65536 is not a port"),
        ("redis+sentinel://a/jobs?sentinel_pasword=secret", "there is no option 'sentinel_pasword'"),
        ("redis+cluster://a/1", "a cluster has database 0 only"),
        ("redis+cluster://a?db=1", "a cluster has database 0 only"),
        ("redis://a/x", "'x' is not a database number"),
        ("redis://a/1/2", "'1/2' is not a database number"),
        (
            "redis://:secret@a?decode_responses=True",
            "there is no option 'decode_responses'; the options are db, username",
        ),
        ("redis://a?socket_timeout=5", "there is no option 'socket_timeout'; the options are db, username"),
        ("redis+cluster://a?nonsense", "there is no option 'nonsense'; the options are db, username"),
        ("redis+cluster://a?sentinel_ssl=yes", "there is no option 'sentinel_ssl'"),
        ("redis://a?ssl_ca_certs=/ca.pem", "there is no option 'ssl_ca_certs' (TLS options need rediss://)"),
        ("unix:///a.sock?ssl_cert_reqs=none", "there is no option 'ssl_cert_reqs' (TLS options need rediss://)"),
        ("unix:///a.sock?socket_keepalive=yes", "a unix socket has no option socket_keepalive"),
        ("redis://a?db=1&db=2", "option db is given twice"),
        ("redis://a?db=x", "option db must be a whole number, not 'x'"),
        ("redis+sentinel://a/jobs?db=-1", "option db must be a whole number, not '-1'"),
        ("redis://a?max_connections=0", "option max_connections must be 1 or more, not '0'"),
        ("redis://a?socket_connect_timeout=nan", "option socket_connect_timeout must be a number of seconds above 0"),
        ("redis://a?socket_keepalive=maybe", "option socket_keepalive must be yes or no, not 'maybe'"),
        ("redis://a?client_name=a%20b", "option client_name must be printable ASCII without spaces, not 'a b'"),
        ("rediss://a?ssl_cert_reqs=never", "option ssl_cert_reqs must be none, optional or required, not 'never'"),
        ("rediss://a?ssl_min_version=3", "option ssl_min_version must be 1.2 or 1.3, not '3'"),
        ("redis+ring://:secret@a", ""),
        ("redis+cluster:a", ""),
        (5, ""),
    ],
)
def test_a_malformed_url_is_refused_with_what_is_wrong(url: Any, why: str) -> None:
    with pytest.raises(UsageError, match=r"not a Redis URL: .*; write redis://") as caught:
        read(url)
    assert why in str(caught.value)
    assert "redis+sentinel://[user:password@]host:port[,host:port…]/service[/db]" in str(caught.value)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis+sentinel://me:p@ss@a:1,b:2/jobs", "redis+sentinel://me:***@a:1,b:2/jobs"),
        ("redis+sentinel://a:1/jobs?sentinel_password=p@ss&x=y", "redis+sentinel://a:1/jobs?sentinel_password=***&x=y"),
        ("rediss+cluster://:p@a:1/?ssl_password=x", "rediss+cluster://:***@a:1/?ssl_password=***"),
        ("redis://host:1/0?password=p@ss", "redis://host:1/0?password=***"),
        ("redis+cluster://a:1,b:2/", "redis+cluster://a:1,b:2/"),
    ],
)
def test_the_passwords_are_masked(url: str, masked: str) -> None:
    assert mask(url) == masked


@pytest.mark.parametrize(
    ("namespace", "tag"),
    [
        ("{work}", "work"),
        ("a{b}c{d}", "b"),
        ("{{work}}", "{work"),
        ("work", None),
        ("", None),
        ("{}", None),
        ("{}{work}", None),
        ("{work", None),
        ("}work{", None),
    ],
)
def test_what_places_the_keys_of_a_namespace(namespace: str, tag: str | None) -> None:
    assert hash_tag(namespace) == tag

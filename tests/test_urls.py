"""What the URL of a Redis may say."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio.connection import SSLConnection

from asyncwork import UsageError
from asyncwork.cli import settings
from asyncwork.store.keys import hash_tag
from asyncwork.store.urls import Kind, Target, mask, read


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("redis://host:1/2", Target(Kind.PLAIN, {"host": "host", "port": 1, "db": 2})),
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
        ("redis+sentinel://a:1/jobs/first", "'first' is no number of a database"),
        ("redis+sentinel:///jobs", "must be host:port, or several"),
        ("redis+sentinel://a:1,/jobs", "must be host:port, or several"),
        ("redis+sentinel://:se/cret@a:1/jobs", "must be host:port, or several"),
        ("redis+sentinel://a:65536/jobs", "65536 is no port"),
        ("redis+sentinel://a/jobs?sentinel_pasword=secret", "there is no option sentinel_pasword"),
        ("redis+cluster://a/1", "a cluster has database 0 only"),
        ("redis+cluster://a?db=1", "a cluster has database 0 only"),
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

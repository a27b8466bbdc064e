"""TLS to Redis through sentinels and clusters. The servers of the wheels have no TLS, so the tests take the one on the
PATH.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.crc import REDIS_CLUSTER_HASH_SLOTS

from asyncwork import Enqueuer, RedisUnavailable, sync
from asyncwork._redis import blocking_discovery, discovery

from .conftest import LIMIT
from .nodes import Node, eventually, free_port
from .servers import server_of


@dataclass
class Certificate:
    """A certificate for this machine that vouches for itself."""

    path: Path
    key: Path

    def lines(self, port: int) -> list[str]:
        """Return what has a server listen on an encrypted port, too."""
        return [
            f"tls-port {port}",
            f"tls-cert-file {self.path}",
            f"tls-key-file {self.key}",
            f"tls-ca-cert-file {self.path}",
            "tls-auth-clients no",
        ]


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    """A certificate."""
    made = Certificate(tmp_path / "certificate.pem", tmp_path / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=asyncwork", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    command += ["-out", str(made.path), "-keyout", str(made.key)]
    subprocess.run(command, check=True, capture_output=True)
    return made


Enqueue = Callable[..., Awaitable[None]]


@pytest.fixture(params=["awaits", "blocks"])
def enqueue(request: pytest.FixtureRequest) -> Enqueue:
    """Enqueues a job by either enqueuer."""

    async def awaits(url: str, namespace: str = "work") -> None:
        async with Enqueuer(url, namespace=namespace) as enqueuer:
            await enqueuer.enqueue("wat")

    def enqueue_blocking(url: str, namespace: str) -> None:
        with sync.Enqueuer(url, namespace=namespace) as enqueuer:
            enqueuer.enqueue("wat")

    async def blocks(url: str, namespace: str = "work") -> None:
        await asyncio.to_thread(enqueue_blocking, url, namespace)

    return awaits if request.param == "awaits" else blocks


async def test_a_master_and_sentinels_with_tls(tmp_path: Path, certificate: Certificate, enqueue: Enqueue) -> None:
    program, port, sentinel_port = server_of("path"), free_port(), free_port()
    with Node(tmp_path / "redis", certificate.lines(port), program=program) as redis:
        watch = [f"sentinel monitor jobs 127.0.0.1 {port} 1", "tls-replication yes", *certificate.lines(sentinel_port)]
        with Node(tmp_path / "sentinel", watch, "--sentinel", program=program) as sentinel:
            trust = f"ssl_ca_certs={certificate.path}"
            await enqueue(f"rediss+sentinel://{sentinel.address}/jobs?{trust}")
            await enqueue(f"rediss+sentinel://127.0.0.1:{sentinel_port}/jobs?{trust}&sentinel_ssl=yes")
            assert redis.ask("LLEN", "work:jobs:wat") == 2
            for url in (
                f"redis+sentinel://{sentinel.address}/jobs",
                f"rediss+sentinel://{sentinel.address}/jobs",
                f"rediss+sentinel://127.0.0.1:{sentinel_port}/jobs?{trust}",
            ):
                with pytest.raises(RedisUnavailable, match="could not be enqueued"):
                    await enqueue(url)


async def test_a_cluster_with_tls(
    tmp_path: Path, certificate: Certificate, enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (discovery, blocking_discovery):
        # On a busy machine, a TLS handshake takes long.
        monkeypatch.setattr(module, "QUERY_TIMEOUT", LIMIT)
    port = free_port()
    lines = ["cluster-enabled yes", "tls-cluster yes", *certificate.lines(port)]
    with Node(tmp_path / "redis", lines, program=server_of("path")) as redis:
        redis.ask("CLUSTER", "ADDSLOTS", *range(REDIS_CLUSTER_HASH_SLOTS))
        eventually(lambda: "cluster_state:ok" in redis.ask("CLUSTER", "INFO"))
        await enqueue(f"rediss+cluster://127.0.0.1:{port}/?ssl_ca_certs={certificate.path}", "{work}")
        assert redis.ask("LLEN", "{work}:jobs:wat") == 1
        with pytest.raises(RedisUnavailable, match="certificate verify failed"):
            await enqueue(f"rediss+cluster://127.0.0.1:{port}/", "{work}")

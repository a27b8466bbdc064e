"""The command ``asyncwork web``, run as a subprocess against the session's Redis."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from asyncwork._health.listening import ListenAddress
from asyncwork.embedded import EmbeddedRedis
from asyncwork.errors import UsageError
from asyncwork.web.server import Listener

from .conftest import LIMIT, Bench, until
from .test_cli import Here, Program, here, program, run, signals_as_usual

__all__ = ["here", "signals_as_usual"]  # fixtures

pytestmark = pytest.mark.processes

NO_REDIS = "redis://me:secret@127.0.0.1:1/0"
LINE = r"^(http://(\S+):(\d+)(\S*)/) shows namespace '(.*)' of (.*)$"


class Web:
    """A running web UI."""

    def __init__(self, running: Program, line: re.Match[str], browser: httpx.AsyncClient) -> None:
        self.running = running
        self.line = line
        self.root = line[1].rstrip("/")
        self.browser = browser

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.browser.get(self.root + path, **options)


@asynccontextmanager
async def serving(*arguments: str, **options: Any) -> AsyncIterator[Web]:
    """Start a web UI on a free port."""
    listen = () if "--listen" in arguments else ("--listen", "127.0.0.1:0")
    async with program("web", *listen, *arguments, **options) as running, httpx.AsyncClient(timeout=LIMIT) as browser:
        await until(lambda: "\n" in running.out or running.process.returncode is not None)
        line = re.search(LINE, running.out, re.MULTILINE)
        assert line, running.out + running.err
        yield Web(running, line, browser)


def at(bench: Bench) -> tuple[str, ...]:
    return ("--redis", bench.url, "-n", bench.namespace)


async def test_it_says_where_it_listens_and_stops_cleanly(bench: Bench) -> None:
    async with serving(*at(bench)) as ui:
        assert (ui.line[2], ui.line[5]) == ("127.0.0.1", bench.namespace)
        assert (await ui.get("/queues")).json() == []
        assert "server" not in (await ui.get("/queues")).headers
        ui.running.send(signal.SIGTERM)
        assert await ui.running.ends() == 0
        assert ui.running.err == ""
        assert ui.running.out.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_it_stops_at_once_however_many_look(bench: Bench, number: signal.Signals) -> None:
    async with serving(*at(bench)) as ui, ui.browser.stream("GET", f"{ui.root}/live?path=/") as stream:
        assert stream.status_code == 200
        parts = stream.aiter_bytes()
        assert await anext(parts)
        ui.running.send(number)
        assert await ui.running.ends() == 0
        # It logs the streams that it has to cut off.
        assert ui.running.err == ""
        async for _ in parts:
            pass


async def test_everything_may_come_from_the_environment(bench: Bench) -> None:
    env = {"ASYNCWORK_REDIS": bench.url, "ASYNCWORK_NAMESPACE": bench.namespace, "ASYNCWORK_WEB_AUTH": "ada:secret"}
    async with serving("--title", "Shop", env=env) as ui:
        assert ui.line[5] == bench.namespace
        assert (await ui.get("/queues")).status_code == 401
        overview = (await ui.get("/api/overview", auth=("ada", "secret"))).json()
        assert (overview["namespace"], overview["title"]) == (bench.namespace, "Shop")


async def test_a_password_on_the_command_line_is_a_warning(bench: Bench) -> None:
    async with serving(*at(bench), "--auth", "ada:secret") as ui:
        assert (await ui.get("/queues", auth=("ada", "secret"))).status_code == 200
        assert (await ui.get("/queues", auth=("ada", "wrong"))).status_code == 401
        await ui.running.says("ASYNCWORK_WEB_AUTH")
        await ui.running.says("rejected .* reason='wrong user name or password'")
        assert "secret" not in ui.running.err


async def test_metrics_may_be_open(bench: Bench) -> None:
    env = {"ASYNCWORK_WEB_AUTH": "ada:secret"}
    async with serving(*at(bench), "--open-metrics", env=env) as ui:
        assert "asyncwork_namespace_redis_up 1" in (await ui.get("/metrics")).text
        assert (await ui.get("/queues")).status_code == 401


async def test_read_only(bench: Bench) -> None:
    async with serving(*at(bench), "--read-only") as ui:
        response = await ui.browser.post(f"{ui.root}/delete_all_dead_jobs")
        assert response.status_code == 405
        await ui.running.says("rejected .* path=/delete_all_dead_jobs")


async def test_acts_are_logged(bench: Bench) -> None:
    async with serving(*at(bench), "--log-format", "json") as ui:
        await ui.browser.post(f"{ui.root}/api/queues/pause", json={"queue": "wat"})
        await ui.running.says("pause done=1")
        (record,) = ui.running.records
        assert record["message"] == "pause done=1 who=- client=127.0.0.1 queue=wat"
        assert (record["logger"], record["level"]) == ("asyncwork.web", "INFO")
    await bench.redis.delete(bench.keys.paused("wat"))


async def test_requests_are_logged_when_everything_is(bench: Bench) -> None:
    async with serving(*at(bench), "--log-level", "debug") as ui:
        await ui.get("/queues")
        await ui.running.says('"GET /queues HTTP/1.1" 200')


async def test_others_names_lead_nowhere(bench: Bench) -> None:
    async with serving(*at(bench), "--allow-host", "tools.example") as ui:
        for host, status in (
            (None, 200),
            ("tools.example", 200),
            ("localhost", 200),
            ("evil.example", 403),
            (f"evil.example:{ui.line[3]}", 403),
        ):
            response = await ui.get("/queues", headers={} if host is None else {"host": host})
            assert response.status_code == status
    async with serving(*at(bench)) as ui:
        assert (await ui.get("/queues", headers={"host": "tools.example"})).status_code == 403
    async with serving(*at(bench), "--insecure") as ui:
        assert (await ui.get("/queues", headers={"host": "tools.example"})).status_code == 200


async def test_only_a_trusted_proxy_says_who_calls_and_by_which_name(bench: Bench) -> None:
    said = {"x-forwarded-host": "tools.example", "x-forwarded-for": "1.2.3.4", "origin": "http://tools.example"}
    for arguments, status, who in (
        (("--trusted-proxy", "10.1.1.1", "--trusted-proxy", "127.0.0.0/8"), 200, "1.2.3.4"),
        (("--trusted-proxy", "10.0.0.0/8"), 403, "127.0.0.1"),
        ((), 403, "127.0.0.1"),
    ):
        async with serving(*at(bench), "--allow-host", "tools.example", *arguments) as ui:
            response = await ui.browser.post(f"{ui.root}/api/queues/pause", json={"queue": "wat"}, headers=said)
            assert response.status_code == status
            await ui.running.says(f"client={who.replace('.', '[.]')} ")
            # A page elsewhere cannot pass for one of ours by it.
            response = await ui.get("/queues", headers={"host": "evil.example", **said})
            assert response.status_code == status
    await bench.redis.delete(bench.keys.paused("wat"))


async def test_a_proxy_may_have_it_under_a_path(bench: Bench) -> None:
    async with serving(*at(bench), "--root-path", "/work/ui/") as ui:
        assert ui.root.endswith("/work/ui")
        port = ui.line[3]
        for path in ("/work/ui/queues", "/queues"):
            response = await ui.browser.get(f"http://127.0.0.1:{port}{path}", headers={"accept": "text/html"})
            assert response.status_code == 200
            assert 'href="/work/ui/dead' in response.text
        response = await ui.browser.post(f"http://127.0.0.1:{port}/api/queues/unpause", data={"queue": "wat"})
        assert response.headers["location"] == "/work/ui/?done=unpause&n=1"


async def test_ipv6(bench: Bench) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    async with serving(*at(bench), "--listen", "[::1]:0") as ui:
        assert ui.line[2] == "[::1]"
        assert (await ui.get("/queues")).json() == []
        assert (await ui.get("/queues", headers={"host": "evil.example"})).status_code == 403


async def test_localhost(bench: Bench) -> None:
    async with serving(*at(bench), "--listen", "localhost:0") as ui:
        assert (await ui.browser.get(f"http://127.0.0.1:{ui.line[3]}/queues")).json() == []


async def test_redis_may_be_away(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path, appendonly=False) as server:
        url = server.url
    async with serving("--redis", url) as ui:
        response = await ui.get("/queues")
        assert (response.status_code, list(response.json())) == (503, ["error"])
        response = await ui.get("/", headers={"accept": "text/html"})
        assert (response.status_code, response.headers["content-type"]) == (503, "text/html; charset=utf-8")
        with EmbeddedRedis(tmp_path, appendonly=False):

            async def healed() -> bool:
                return (await ui.get("/", headers={"accept": "text/html"})).status_code == 200

            await until(healed)
        ui.running.send(signal.SIGTERM)
        assert await ui.running.ends() == 0
        assert "Traceback" not in ui.running.err


async def test_a_port_that_is_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        code, out, err = await run("web", "--listen", address)
    assert (code, out) == (1, "")
    assert err == (
        f"asyncwork web: another program listens at {address}: choose another port with --listen, or port 0 for any "
        "free port\n"
    )


async def test_an_address_that_is_not_of_this_machine() -> None:
    code, _, err = await run("web", "--listen", "192.0.2.1:5040", "--insecure")
    assert code == 1
    assert re.fullmatch(r"asyncwork web: cannot listen at 192\.0\.2\.1:5040: .+\n", err)
    code, _, err = await run("web", "--listen", "nowhere.invalid:5040", "--insecure")
    assert code == 1
    assert err.startswith("asyncwork web: cannot listen at nowhere.invalid:5040: ")


BAD_USAGE = [
    (
        "--listen 0.0.0.0:0",
        "0.0.0.0:0 can be reached from other machines; set --auth USER:PASSWORD (or ASYNCWORK_WEB_AUTH)",
    ),
    ("--listen [::]:0", "[::]:0 can be reached from other machines"),
    ("--listen 192.0.2.1:0 --read-only", "192.0.2.1:0 can be reached from other machines"),
    ("--listen 5040", "--listen: '5040' is not HOST:PORT; write 127.0.0.1:5040"),
    ("--listen :5040", "--listen: ':5040' is not HOST:PORT"),
    ("--listen ::1:5040", "--listen: '::1:5040' is not HOST:PORT"),
    ("--listen localhost:http", "--listen: port must be a number from 0 to 65535, not 'http'"),
    ("--listen localhost:65536", "--listen: port must be a number from 0 to 65535, not '65536'"),
    ("--listen localhost:", "--listen: port must be a number from 0 to 65535, not ''"),
    ("--auth ada", "--auth: auth must be user:password, and neither may be empty"),
    ("--auth :x", "--auth: auth must be user:password"),
    (
        "--trusted-proxy proxy",
        "--trusted-proxy: 'proxy' is not a proxy's address; give an IP address such as 127.0.0.1",
    ),
    ("--redis localhost", "--redis: not a Redis URL: 'localhost'"),
    ("--log-level loud", "--log-level: the log level must be one of"),
    ("--root-path work", "--root-path: the path must be like /work, not 'work'"),
    ("--root-path //evil.example", "--root-path: the path must be like /work"),
    ("--embedded", "unrecognized arguments: --embedded"),
    ("--read", "unrecognized arguments: --read"),
]


@pytest.mark.parametrize(("line", "message"), BAD_USAGE, ids=[line for line, _ in BAD_USAGE])
def test_bad_usage(here: Here, line: str, message: str) -> None:
    code, out, err = here("web", *line.split())
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_a_bad_value_in_the_environment(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCWORK_WEB_AUTH", "ada")
    code, _, err = here("web")
    assert code == 2
    assert "ASYNCWORK_WEB_AUTH: auth must be user:password" in err


async def test_other_machines_may_reach_it_with_a_password(bench: Bench) -> None:
    env = {"ASYNCWORK_WEB_AUTH": "ada:secret"}
    async with serving(*at(bench), "--listen", "0.0.0.0:0", env=env) as ui:
        url = f"http://127.0.0.1:{ui.line[3]}/queues"
        assert (await ui.browser.get(url, headers={"host": "anything.example"})).status_code == 401
        assert (await ui.browser.get(url, auth=("ada", "secret"))).status_code == 200
    async with serving(*at(bench), "--listen", "0.0.0.0:0", "--insecure") as ui:
        assert (await ui.browser.get(f"http://127.0.0.1:{ui.line[3]}/queues")).status_code == 200


@pytest.mark.parametrize("missing", ["starlette", "uvicorn", "jinja2", "cron_descriptor"])
async def test_it_may_not_be_installed(tmp_path: Path, missing: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None\nfrom asyncwork.cli import main\nsys.exit(main(['web']))"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert err.decode().startswith("asyncwork web: the web UI needs more packages (")
    assert err.decode().endswith("): pip install 'asyncwork[web]'\n")


async def test_the_other_commands_need_none_of_it() -> None:
    code = (
        "import sys, asyncwork.cli; print([each for each in sys.modules if each.startswith(('starlette', 'uvicorn'))])"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert out == b"[]\n"


async def test_help() -> None:
    code, out, err = await run("web", "--help")
    assert (code, err) == (0, "")
    for text in ("examples:", "exit codes:", "ASYNCWORK_WEB_AUTH", "--read-only", "127.0.0.1:5040"):
        assert text in out


def test_addresses() -> None:
    for text in ("127.0.0.1:5040", "[::1]:0", "tools.example:80"):
        assert str(ListenAddress.parse(text)) == text
    with pytest.raises(UsageError, match="can be reached from other machines"):
        Listener(ListenAddress("0.0.0.0", 0), allow_remote=False)
    listener = Listener(ListenAddress("localhost", 0), allow_remote=False)
    listener.socket.close()
    assert (listener.is_loopback, listener.address.port > 0) == (True, True)

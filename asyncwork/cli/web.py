"""``asyncwork web``: shows a namespace in a browser."""

from __future__ import annotations

import argparse
import errno
import logging
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from . import importer, logs, settings
from .settings import choose

if TYPE_CHECKING:
    from ..web.server import Address

logger = logging.getLogger("asyncwork.cli")

_ADDRESS = "127.0.0.1:5040"

_DESCRIPTION = """\
Show the jobs, queues and worker pools of a namespace in a browser, and steer them.

It prints a line: where it listens. Redis may be away when it starts; the pages say so until it is back.
"""

_EPILOG = """\
It listens on this machine only, unless told otherwise; then it wants a password, which is unencrypted on its way
unless a proxy with TLS stands in front.

exit codes:
  0  stopped by SIGINT, SIGTERM or SIGHUP       2  bad usage, or asyncwork[web] is not installed
  1  the address cannot be had, as when another program listens there

examples:
  asyncwork web
  asyncwork web -n my_app --redis redis://10.0.0.5:6379/2 --read-only
  ASYNCWORK_WEB_AUTH=ada:secret asyncwork web --listen 0.0.0.0:5040
  asyncwork web --root-path /work --allow-host tools.example.com      behind a proxy on this machine, which must pass
                                                                      on the name: proxy_set_header Host $http_host;

A password on a command line is seen by everyone on the machine: ASYNCWORK_REDIS and ASYNCWORK_WEB_AUTH are the better
places for it.
"""


def add_command(commands: Any) -> None:
    """Add the command to the parser's."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "web",
        help="show a namespace in a browser",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=web)
    add = parser.add_argument
    settings.add_place(parser)
    add("--listen", metavar="HOST:PORT", default=_ADDRESS, help=f"port 0 takes any that is free ({_ADDRESS})")
    add("--auth", metavar="USER:PASSWORD", help="ask for them (environment: ASYNCWORK_WEB_AUTH)")
    add("--read-only", action="store_true", help="show everything, change nothing")
    add("--insecure", action="store_true", help="let in everybody who reaches it, from other machines, too")
    add(
        "--allow-host",
        metavar="NAME",
        action="append",
        default=[],
        help="a name by which it may be called besides localhost; may be repeated",
    )
    add(
        "--trusted-proxy",
        metavar="ADDRESS",
        action="append",
        default=[],
        help="an IP address or network of a proxy whose X-Forwarded-Host and X-Forwarded-For count; may be repeated",
    )
    add("--root-path", metavar="PATH", default="", help="the path under which a proxy has it, such as /work")
    add(
        "--redact",
        metavar="MODULE:FUNCTION",
        help="hides what must not be seen: given a JobRecord, returns it as it may be shown "
        "(environment: ASYNCWORK_WEB_REDACT)",
    )
    add("--title", metavar="TEXT", help="what the pages call themselves (the namespace)")
    levels = ", ".join(settings.LEVELS).lower()
    add("--log-level", metavar="LEVEL", help=f"{levels} (environment: ASYNCWORK_LOG_LEVEL; info)")
    add(
        "--log-format",
        choices=logs.FORMATS,
        help="lines for people, or JSON objects (environment: ASYNCWORK_LOG_FORMAT; text)",
    )


def web(options: argparse.Namespace) -> int:
    """Do what the options say; return the exit code.

    :raises UsageError: when an option cannot be right, or what the web UI is made of is not installed.
    """
    level, form = settings.log_options(options)
    try:
        from ..web import create_app
        from ..web.access import Credentials, Proxies
        from ..web.server import Address, Listener, serve
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "asyncwork":
            raise
        raise UsageError(f"the web UI needs more packages ({error}): pip install 'asyncwork[web]'") from None
    url, namespace = settings.place(options)
    auth = choose("--auth", options.auth, "ASYNCWORK_WEB_AUTH", _checked_by(Credentials))
    redact = choose("--redact", options.redact, "ASYNCWORK_WEB_REDACT", importer.find_function)
    root_path = settings.read("--root-path", options.root_path, _root_path)
    proxies = settings.read("--trusted-proxy", options.trusted_proxy, Proxies) if options.trusted_proxy else None
    address = settings.read("--listen", options.listen, Address.parse)
    guarded = auth is not None or options.insecure
    try:
        listener = Listener(address, anywhere=guarded)
    except OSError as error:
        logs.complain(options, _cannot_listen(address, error))
        return 1
    with listener.socket:
        hosts = [address.host, *options.allow_host]
        if options.insecure and not options.allow_host:
            hosts = ["*"]
        app = create_app(
            url,
            namespace=namespace,
            title=options.title,
            auth=auth,
            read_only=options.read_only,
            redact=redact,
            hosts=hosts if options.allow_host or auth is None else None,
        )
        logs.set_up(level, form)
        # It warns of every request that is no HTTP: whoever reaches the port could fill the log.
        logging.getLogger("uvicorn.error").setLevel("DEBUG" if level == "DEBUG" else "ERROR")
        if options.auth is not None:
            logger.warning(
                "a command line is seen by everyone on the machine: better set ASYNCWORK_WEB_AUTH than --auth"
            )
        client = app.state.site.client
        line = f"http://{listener.address}{root_path}/ shows namespace {client.namespace!r} of {client.masked_url}"
        started = partial(print, line, flush=True)
        serve(app, listener, root_path=root_path, proxies=proxies, access_log=level == "DEBUG", on_start=started)
    return 0


def _checked_by(reader: Callable[[str], object]) -> Callable[[str], str]:
    """Return what reads a text as it is, if another reader takes it."""

    def read(text: str) -> str:
        reader(text)
        return text

    return read


def _root_path(text: str) -> str:
    path = text.rstrip("/")
    if path and not re.fullmatch(r"(/[\w.~-]+)+", path, re.ASCII):
        raise UsageError(f"a path such as /work is needed, not {text!r}")
    return path


def _cannot_listen(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"another program listens at {address}: choose another port with --listen, or port 0 for any free one"
    return f"cannot listen at {address}: {error.strerror or error}"

"""``asyncwork web``: shows a namespace in a browser."""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Callable
from functools import partial

from .._health.listening import ListenAddress
from ..errors import UsageError
from . import importer, logs, settings, streams
from .errors import OutputError
from .health_port import cannot_listen
from .settings import choose

logger: logging.Logger = logging.getLogger("asyncwork.cli")


def web(options: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    :raises UsageError: when an option is invalid, or packages of the web UI are not installed.
    """
    level, log_format = settings.log_options(options)
    try:
        from ..web import create_app
        from ..web.auth import Credentials, TrustedProxies
        from ..web.server import Listener, serve
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "asyncwork":
            raise
        raise UsageError(f"the web UI needs more packages ({error}): pip install 'asyncwork[web]'") from None
    url, namespace = settings.redis_options(options)
    auth = choose("--auth", options.auth, "ASYNCWORK_WEB_AUTH", _check_with(Credentials))
    redact = choose("--redact", options.redact, "ASYNCWORK_WEB_REDACT", importer.find_function)
    root_path = settings.read("--root-path", options.root_path, _root_path)
    proxies = settings.read("--trusted-proxy", options.trusted_proxy, TrustedProxies) if options.trusted_proxy else None
    address = settings.read("--listen", options.listen, ListenAddress.parse)
    protected = auth is not None or options.insecure
    try:
        listener = Listener(address, allow_remote=protected)
    except OSError as error:
        logs.complain(options, cannot_listen(address, error, "--listen"))
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
            open_metrics=options.open_metrics,
            hosts=hosts if options.allow_host or auth is None else None,
        )
        logs.set_up(level, log_format)
        # uvicorn warns of every request that is not HTTP. Anyone who reaches the port could fill the log.
        logging.getLogger("uvicorn.error").setLevel("DEBUG" if level == "DEBUG" else "ERROR")
        if options.auth is not None:
            logger.warning("everyone on this machine can see the password of --auth: set ASYNCWORK_WEB_AUTH instead")
        client = app.state.context.client
        line = f"http://{listener.address}{root_path}/ shows namespace {client.namespace!r} of {client.masked_url}"
        started = partial(_announce, line)
        serve(app, listener, root_path=root_path, proxies=proxies, access_log=level == "DEBUG", on_start=started)
    return 0


def _announce(line: str) -> None:
    """Print where the pages are; the server also runs when that cannot be printed."""
    try:
        streams.print_result(line, line)
    except OutputError as error:
        logger.warning("%s", error)


def _check_with(reader: Callable[[str], object]) -> Callable[[str], str]:
    """Return a reader that keeps the text as it is, if another reader accepts it."""

    def read(text: str) -> str:
        reader(text)
        return text

    return read


def _root_path(text: str) -> str:
    path = text.rstrip("/")
    if path and not re.fullmatch(r"(/[\w.~-]+)+", path, re.ASCII):
        raise UsageError(f"the path must be like /work, not {text!r}")
    return path

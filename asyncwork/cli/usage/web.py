"""Usage of ``asyncwork web``."""

from __future__ import annotations

from typing import Any

from .command import add_command, add_redis_options
from .log_options import add_log_options

_LISTEN = "127.0.0.1:5040"

_DESCRIPTION = """\
Show the jobs, queues and worker pools of a namespace in a browser, and manage them there.

Prints one line with the address once it listens. Redis may be down at the start; the pages say so until it is back.
"""

_EPILOG = """\
By default it listens on this machine only. On any other address it requires --auth (or --insecure). The password is
sent unencrypted unless a proxy with TLS stands in front.

exit codes:
  0  stopped by SIGINT, SIGTERM or SIGHUP
  1  cannot listen at the address, for example because another program does
  2  bad usage, or asyncwork[web] is not installed

examples:
  asyncwork web
  asyncwork web -n my_app --redis redis://10.0.0.5:6379/2 --read-only
  ASYNCWORK_WEB_AUTH=ada:secret asyncwork web --listen 0.0.0.0:5040
  asyncwork web --root-path /work --allow-host tools.example.com

The last example is for a proxy on the same machine. The proxy must pass on the host name, as nginx does with
`proxy_set_header Host $http_host;`.

Everyone on the machine can see a password on a command line. Set ASYNCWORK_REDIS and ASYNCWORK_WEB_AUTH instead.
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "web", "show a namespace in a browser", _DESCRIPTION, _EPILOG)
    add = parser.add_argument
    add_redis_options(parser)
    add("--listen", metavar="HOST:PORT", default=_LISTEN, help=f"the address; port 0 takes any free port ({_LISTEN})")
    add("--auth", metavar="USER:PASSWORD", help="require this login (environment: ASYNCWORK_WEB_AUTH)")
    add("--read-only", action="store_true", help="show everything, change nothing")
    add("--insecure", action="store_true", help="accept requests from other machines without a password")
    add(
        "--allow-host",
        metavar="NAME",
        action="append",
        default=[],
        help="accept requests to this host name, besides localhost; may be repeated",
    )
    add(
        "--trusted-proxy",
        metavar="ADDRESS",
        action="append",
        default=[],
        help="trust X-Forwarded-Host and X-Forwarded-For of a proxy with this IP address or network; may be repeated",
    )
    add("--root-path", metavar="PATH", default="", help="the path at which a proxy serves it, such as /work")
    add(
        "--redact",
        metavar="MODULE:FUNCTION",
        help="hide secrets: the function takes a JobRecord and returns it as it may be shown "
        "(environment: ASYNCWORK_WEB_REDACT)",
    )
    add("--open-metrics", action="store_true", help="serve /metrics without a password, to any host name")
    add("--title", metavar="TEXT", help="the title of the pages (the namespace)")
    add_log_options(parser)

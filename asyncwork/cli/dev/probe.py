"""Imports an app in a process of its own, before the process that runs it is stopped."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any

# Seconds that the import of an app may take.
_TIMEOUT = 60.0
# Seconds after which it is reported that the import takes long.
_SLOW = 1.0


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether an app can be run.

    :ivar namespace: the namespace of its pool; empty if it cannot.
    :ivar error: why it cannot, with the traceback; empty if it can.
    :ivar warnings: what ``asyncwork check`` warns of.
    """

    namespace: str = ""
    error: str = ""
    warnings: tuple[str, ...] = ()


async def probe(app: str, environment: Mapping[str, str], on_slow: Callable[[], None]) -> Probe:
    """Import an app as ``asyncwork check`` does.

    :param on_slow: called once if the import takes long.
    """
    slow = asyncio.get_running_loop().call_later(_SLOW, on_slow)
    # Files, because a program that the app has started would hold a pipe open.
    with TemporaryFile() as out, TemporaryFile() as err:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "asyncwork", "check", app, "--json"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environment,
            process_group=0,
        )
        try:
            async with asyncio.timeout(_TIMEOUT):
                await process.wait()
        except TimeoutError:
            return Probe(error=f"the import of {app} did not end within {_TIMEOUT:g} s")
        finally:
            slow.cancel()
            if process.returncode is None:
                process.kill()
                await process.wait()
        out.seek(0)
        err.seek(0)
        return _read(out.read(), err.read().decode("utf-8", "backslashreplace"))


def _read(out: bytes, err: str) -> Probe:
    try:
        report: dict[str, Any] = json.loads(out)
    except ValueError:  # the app ended the process
        return Probe(error=err or "the app ended the process that imported it")
    if report["error"] is not None:
        return Probe(error=f"{report['traceback'] or ''}{report['error']}")
    return Probe(report["namespace"], warnings=tuple(report["warnings"]))

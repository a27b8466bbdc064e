"""A child process that runs no pool: it speaks to its parent as children do. A file says what it is to do, in words:
``hang`` before it serves, ``deaf`` to SIGTERM, ``serve`` until it is stopped, or ``end`` once it has served.
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

_, descriptor, _ = map(int, os.environ["ASYNCWORK_CHILD"].split(","))
channel = socket.socket(fileno=descriptor)


def send(kind: str, **fields: object) -> None:
    channel.sendall(json.dumps({"kind": kind, "fields": fields}).encode() + b"\n")


def wait() -> None:
    while True:
        time.sleep(60)


words = Path(sys.argv[1]).read_text().split()
send("report")
if "deaf" in words:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    send("ready")
if "hang" in words:
    wait()
send("report", state="running", jobs=0)
if "serve" in words:
    wait()

"""Usage of ``asyncwork completion``."""

from __future__ import annotations

from typing import Any

from .command import add_command

SHELLS = ("bash", "zsh", "fish")
# The scripts call this with the words up to the cursor. The last one may be empty.
WORDS = "--words"

_DESCRIPTION = """\
Print a script that completes commands, options, places and the names of queues in a shell.

The script calls asyncwork at each Tab. The names of queues are read from Redis, for a second at most.
"""

_EPILOG = """\
exit codes:
  0  printed
  2  bad usage
  4  standard output cannot be written, such as on a full disk

examples:
  source <(asyncwork completion bash)                                    # in ~/.bashrc
  source <(asyncwork completion zsh)                                     # in ~/.zshrc, after compinit
  asyncwork completion fish > ~/.config/fish/completions/asyncwork.fish
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "completion", "complete commands in a shell", _DESCRIPTION, _EPILOG)
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, nargs="?", help=", ".join(SHELLS))
    parser.set_defaults(words=None)

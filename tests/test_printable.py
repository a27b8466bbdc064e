"""Names from other programs in log lines: control characters are escaped, and long names are cut."""

from __future__ import annotations

import pytest

from asyncwork._jobs.printable import plural, printable

NAMES: list[tuple[bytes, str]] = [
    (b"send_email", "send_email"),
    ("größe".encode(), "größe"),
    (b"a b", "a b"),
    (b"a\nERROR forged", r"a\nERROR forged"),
    (b"\x1b[31m", r"\x1b[31m"),
    (b"a\xffb", r"a\xffb"),
    ("\u2028\u202e".encode(), r"\u2028\u202e"),
]


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_a_name_can_neither_forge_a_line_nor_control_a_terminal(name: bytes, expected: str) -> None:
    assert printable(name.decode(errors="surrogateescape")) == expected
    assert expected.isprintable()


def test_a_lone_surrogate_is_escaped() -> None:
    assert printable("\ud800") == r"\ud800"


def test_one_is_singular() -> None:
    assert [plural(count, "job") for count in (0, 1, 2)] == ["0 jobs", "1 job", "2 jobs"]

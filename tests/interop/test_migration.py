"""What ``docs/gocraft.md`` promises to those who port handlers."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncwork.errors import ArgumentMismatchError
from asyncwork.job import Job

from .golang import SOURCE, Streamed

GUIDE = SOURCE.parents[2] / "docs" / "gocraft.md"
KINDS: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}


@pytest.fixture(scope="module")
def go_argument(gowork: Path) -> Iterator[Streamed]:
    """What a Go handler gets as an argument."""
    with Streamed(gowork, "argument") as argument:
        yield argument


values = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=5),
    st.integers(-(2**53) + 100, 2**53 - 100),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-1000, 1000).map(float),
    st.sampled_from([[], {}, [1], {"a": 1}, "1", "", 9007199254740892.0, 9007199254740894.0, 1e300, -0.0]),
)


@given(value=values, kind=st.sampled_from(sorted(KINDS)))
@settings(max_examples=500, deadline=None)
def test_an_argument_is_converted_or_refused_as_go_does(go_argument: Streamed, value: object, kind: str) -> None:
    payload = json.dumps({"name": "wat", "id": "1", "t": 1, "args": {"v": value}})
    theirs = go_argument.ask({"kind": kind, "payload": payload})
    job = Job.decode(payload.encode())
    if "error" in theirs:
        with pytest.raises(ArgumentMismatchError, match="wrong type"):
            job.arg("v", KINDS[kind])
    else:
        ours: object = job.arg("v", KINDS[kind])
        assert type(ours) is KINDS[kind]
        # Go writes a float without a fraction as an integer.
        assert ours == KINDS[kind](theirs["value"])


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_missing_argument_is_an_error_on_both_sides(go_argument: Streamed, kind: str) -> None:
    payload = '{"name":"wat","id":"1","t":1,"args":{}}'
    assert "key wasn't found" in go_argument.ask({"kind": kind, "payload": payload})["error"]
    with pytest.raises(ArgumentMismatchError, match="missing"):
        Job.decode(payload.encode()).arg("v", KINDS[kind])


def test_an_integer_that_go_cannot_read_is_exact_here(go_argument: Streamed) -> None:
    payload = '{"name":"wat","id":"1","t":1,"args":{"v":1234567890123456789}}'
    assert "error" in go_argument.ask({"kind": "int", "payload": payload})
    assert Job.decode(payload.encode()).arg("v", int) == 1234567890123456789


def exported(gowork: Path) -> set[str]:
    """The functions, methods and job options that gocraft/work exports."""
    listed = subprocess.run(
        ["go", "list", "-m", "-f", "{{.Dir}}", "github.com/gocraft/work"],
        cwd=SOURCE, check=True, capture_output=True, text=True,
    )  # fmt: skip
    names: set[str] = set()
    source = Path(listed.stdout.strip())
    for path in [*source.glob("*.go"), *source.glob("webui/*.go")]:
        if not path.name.endswith("_test.go"):
            text = path.read_text()
            names |= set(re.findall(r"^func (?:\(\w+ \*?[A-Z]\w*\) )?([A-Z]\w*)\(", text, re.MULTILINE))
            for options in re.findall(r"^type JobOptions struct \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL):
                names |= set(re.findall(r"^\t([A-Z]\w*)", options, re.MULTILINE))
    return names


def test_the_guide_names_everything_that_gocraft_work_exports(gowork: Path) -> None:
    names = exported(gowork)
    assert {"NewEnqueuer", "EnqueueUniqueIn", "MaxConcurrency", "ArgInt64", "DeleteRetryJob", "NewServer"} <= names
    # This version has no keys of one's own.
    assert not {name for name in names if "ByKey" in name}
    rows = "\n".join(line for line in GUIDE.read_text().splitlines() if line.startswith("|"))
    assert {name for name in names if not re.search(rf"\b{name}\b", rows)} == set()

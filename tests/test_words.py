"""One word for each thing: words that had a second meaning or an unusual one were replaced, and must not come back."""

from __future__ import annotations

import functools
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from .architecture import ROOT

PACKAGE = ROOT / "asyncwork"


class Term(NamedTuple):
    """Retired words, as a regular expression, and what to write in their place.

    Names are read as separate words in lower case: ``GiveBack`` and ``give_back`` as ``give back``.

    :ivar allowed: a regular expression of phrases in which the words are right.
    """

    words: str
    use: str
    allowed: str = r"(?!)"


# Retired everywhere: in names, comments, docstrings, messages, pages and documents.
EVERYWHERE = [
    # Classes and modules
    Term("book ?keepers?", "metrics"),
    Term("check ?ups?", "reader"),
    Term("doors?", "API, client"),
    Term("fates?", "outcome"),
    Term("floor", "work queue", allowed=r"math\.floor"),
    Term("forecasts?", "next firing"),
    Term("holdings", "lock state, shares"),
    Term("hungry", "backlog"),
    Term("intake", "producer"),
    Term("journal", "audit log"),
    Term("lanes?", "pipeline"),
    Term("ledgers?", "metrics"),
    Term("outbox", "pending results"),
    Term("park(s|ed|ing)?", "block, blocked, blocking pop"),
    Term("pasting", "command hints"),
    Term("patience", "timeout"),
    Term("pok(e|es|ed|ing)", "wake, wakeup"),
    Term("revivers?|revived?", "go rescuer, rescue", allowed=r"\brevive: float|param revive|tuning\.revive|\brevive="),
    Term("seats?", "blocking connection"),
    Term("shel(f|ves|ved)", "location, set"),
    Term("stall watch", "loop watchdog"),
    Term("steer(s|ed|ing)?", "admin"),
    Term("stirred", "wakeup"),
    Term("suspicio(n|ns|us)", "poison pills, on_possible_loss"),
    Term("sweep(s|ing)?", "sampler, pass"),
    Term("tall(y|ies)", "PoolCounts, JobCounts"),
    Term("threats?", "problem"),
    Term("upkeep", "registry, recovery, delayed"),
    Term("wires?", "connection", allowed=r"\bwire format|\bwire\.md|\b(on|over) the wire|(# |\[)the wire"),
    Term("background roles?", "background service"),
    Term("connectors?", "RedisClient"),
    # What happens to jobs and pools
    Term("accus(e|es|ed|ing)", "mark", allowed=r":accused"),
    Term("acquit(s|ted|ting|tal)?", "clear"),
    Term("afar", "control running pools, by an operator"),
    Term("beaten", "write a heartbeat"),
    Term("(bring|brings|bringing|brought)( it| them| one)? back", "restore, requeue"),
    Term("bur(y|ies|ied|ying)", "reap"),
    Term("calm", "idle"),
    Term("close the books", "flush the metrics"),
    Term("cur(e|es|ed)", "repair"),
    Term("(give|gives|giving|gave|given)( it| them| one)? back", "requeue, return"),
    Term("(let|lets|letting) off", "exempt"),
    Term("(made|makes?|making) up for", "say what happens instead"),
    Term("mend(s|ed|ing)?", "repair, fix"),
    Term("on trial", "run isolated"),
    Term("(put|puts|putting)( it| them| one| this)? back", "requeue, return"),
    Term("requeuing", "requeueing"),
    Term("(set|sets|setting)( it| them)? aside", "quarantine"),
    Term("seek(s|ing)?|sought", "search, query", allowed=r"\.seek\("),
    Term(r"(take|takes|taking|took|taken)( \w+){0,2} for dead", "consider dead"),
    Term("(tell|tells|telling|told)", "report, log, send, write, return", allowed=r"\btold to stop"),
    Term("(take|takes|taking|took) leave", "unregister, shut down"),
    Term("troubles?", "error, failure"),
    Term("untold", "unacknowledged"),
    Term("look(s|ed|ing)? (at|into|on|through|whether)", "read, check, poll, search"),
    Term("(a|each|every|first|last|next|one|two) looks?", "reading, check, poll"),
    # Sentences
    Term("(who|whom)ever", "name the actor"),
    Term("(no|some|any|every)body", "name the actor"),
    Term("whom", "name the actor"),
    Term("of which", "a sentence of its own"),
    Term("hence|lest|thereof|whence|wherein", "a plain word"),
    Term("(?<!there )(is|are|was|were) no jobs?(?! longer)", "is not a job"),
    Term("(?<=, )for (it|they|there|we)", "because"),
]

# Retired as names in code, because the word has a second meaning there; right in a sentence.
NAMES = [
    Term("asked", "requested"),
    Term("blame", "record_crash"),
    Term("counters", "metrics"),
    Term("even if full", "allow_when_oom"),
    Term("faults?", "problem, reason"),
    Term("of kind", "delete_if_wrong_type"),
    Term("places?", "location, position"),
    Term("refusals", "rejected commands"),
    Term("^leaving$", "shutdown"),
    Term("^looks?$", "reading, check, poll"),
    Term("^inspection$", "inspector"),
    Term("^signs$", "problems"),
    Term("^spots?$", "location"),
    Term("^square$", "sync_share"),
    Term("^surveys?$", "reader"),
    Term("^(trusted|lease seconds)$", "stale_after"),
]

# Retired names of classes, which are right as other names.
CLASSES = {
    "Look": "reading",
    "Role": "Service",
    "Serving": "Launcher",
    "Sign": "Problem",
    "Turns": "ReadyQueue",
}

# Retired names of modules, which are common words elsewhere.
MODULES = {
    "_worker": {"engine", "loop", "parking", "sweep", "turns"},
    "_redis": {"enter", "give_back", "held", "inspection", "level", "location", "shared_wire", "square", "walk"},
    "web": {"access", "answers", "display", "failures", "fields", "journal", "live", "notes"},
}

# The modules of the tests that the how-tos of CONTRIBUTING.md have a contributor edit, or that other tests build on.
HELPERS = (
    *(
        "architecture",
        "browser",
        "child",
        "conftest",
        "doomed",
        "gated",
        "journey",
        "model",
        "nodes",
        "proxy",
        "servers",
    ),
    *("stepping", "test_fault_points", "test_keys", "test_scripts_model", "web_app"),
)

_SUFFIXES = {".css", ".html", ".js", ".json", ".lua", ".py", ".sh"}
FILES = sorted(
    [
        *(path for path in PACKAGE.rglob("*") if path.suffix in _SUFFIXES),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "tests" / f"{name}.py" for name in HELPERS),
        # An sdist has no configuration of CI and of the site.
        *(path for name in ("*.md", "*.toml", "*.yml", "Makefile", ".ci/*") for path in ROOT.glob(name)),
    ]
)
_LUA_TEXT = re.compile(r"--.*|'[^']*'|\"[^\"]*\"")
_TEMPLATE_CODE = re.compile(r"\{[{%].*?[%}]\}")
_TEMPLATE_TEXT = re.compile(r"'[^']*'|\"[^\"]*\"")


# A sentence that begins so makes its reader wait for the subject. A question may.
_FRONTED = re.compile(r"(?:^|[.:;!?)*|`] |\"\"\")((?:Of|What|Whatever) (?!to )[a-z@`:][^.?]*)\.")


class Hit(NamedTuple):
    """A retired word in a file."""

    line: int
    word: str
    use: str


def as_words(text: str) -> str:
    """Return a text in lower case, with names taken apart into words."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text.replace("_", " "))
    return text.lower()


def any_of(terms: list[Term]) -> re.Pattern[str]:
    """Return a pattern that finds the words of any of these terms."""
    return re.compile(rf"\b(?:{'|'.join(term.words for term in terms)})\b")


# Nearly all text has no retired word. One pass for all terms is much quicker than one for each.
_ANYWHERE, _ANY_NAME = any_of(EVERYWHERE), any_of(NAMES)


@functools.cache
def retired_in(name: str) -> list[Term]:
    """Return the terms that are retired as names, and are part of this one. Most names occur in many files."""
    words = as_words(name).strip()
    if not _ANY_NAME.search(words):
        return []
    return [term for term in NAMES if re.search(rf"\b(?:{term.words})\b", words)]


# Names of the API that contain a retired word: `CancelResult.ASKED`.
_ALLOWED_NAMES = {"ASKED"}


def names(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """Yield the names in the code of a file, with their lines, if it has any that is retired."""
    if not any(name in CLASSES or retired_in(name) for name in set(re.findall(r"\w+", text))):
        return  # without taking the file apart, which takes long
    if path.suffix == ".py":
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.NAME and token.string not in _ALLOWED_NAMES:
                yield token.start[0], token.string
    elif path.suffix in {".lua", ".html"}:
        for number, line in enumerate(text.splitlines(), 1):
            code = _LUA_TEXT.sub("", line)
            if path.suffix == ".html":
                code = _TEMPLATE_TEXT.sub("", " ".join(_TEMPLATE_CODE.findall(line)))
            for name in re.findall(r"[A-Za-z_]\w*", code):
                yield number, name


def hits(path: Path, text: str) -> list[Hit]:
    """Return the retired words in a file."""
    found: set[Hit] = set()
    # As one line, because a phrase may be broken; comment markers are left out.
    starts, whole = [], ""
    for line in text.splitlines():
        starts.append(len(whole))
        whole += re.sub(r"^\s*(#|--|//|\*)*\s*", "", as_words(line)) + " "
    for term in EVERYWHERE if _ANYWHERE.search(whole) else ():
        allowed = [match.span() for match in re.finditer(term.allowed, whole)]
        for match in re.finditer(rf"\b(?:{term.words})\b", whole):
            if not any(start <= match.start() and match.end() <= end for start, end in allowed):
                found.add(Hit(sum(start <= match.start() for start in starts), match[0], term.use))
    for number, name in names(path, text):
        if name in CLASSES:
            found.add(Hit(number, name, CLASSES[name]))
        found.update(Hit(number, name, term.use) for term in retired_in(name))
    return sorted(found)


def fronted(text: str) -> list[str]:
    """Return the beginnings of the sentences in docstrings, comments and documents that name their subject late."""
    # As one line for each paragraph. A paragraph begins at a line of another kind, such as code after a comment.
    paragraphs, last = [""], None
    for line in text.splitlines():
        marker, content = re.fullmatch(r"\s*(#+:?|--|//|[-*|]|\d+\.)?\s*(.*)", line).groups()  # type: ignore[union-attr]
        if marker != last or not content:
            paragraphs.append("")
        paragraphs[-1] += f"{content} "
        last = marker
    return [match[1][:60] for each in paragraphs for match in _FRONTED.finditer(each)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_retired_word(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.name == "CHANGELOG.md":
        # Its tables have the names of before.
        text = re.sub(r"^\|.*", "", text, flags=re.MULTILINE)
    found = hits(path, text)
    lines = [f"{path.relative_to(ROOT)}:{line}: {word} -> {use}" for line, word, use in found]
    assert not lines, "\n".join(["retired words:", *lines])


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix in {".lua", ".md", ".py"}], ids=str)
def test_sentences_begin_with_their_subject(path: Path) -> None:
    found = fronted(path.read_text(encoding="utf-8"))
    assert not found, "\n".join([f"{path.relative_to(ROOT)}: name the subject first:", *found])


def test_no_retired_module() -> None:
    for package, retired in MODULES.items():
        assert not retired & {path.stem for path in (PACKAGE / package).rglob("*") if path.suffix in {".lua", ".py"}}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.py", "class GiveBack:\n    pass", ["give back"]),
        ("a.py", "x = 1\n# It is put\n# back later.", ["put back"]),
        ("a.py", "class Serving:\n    serving: int", ["Serving"]),
        ("a.py", "logger.info('taken for dead')", ["taken for dead"]),
        ("a.py", "at = math.floor(place)\nlog('in place of it')", ["place"]),
        ("a.lua", "-- the place of it\nlocal place = math.floor(1.5)", ["place"]),
        ("a.lua", "redis.call('hget', key, 'x:accused') -- accused", ["accused"]),
        ("a.html", '<p title="place">{{ link("place") }} {{ job.place }}</p>', ["place"]),
        ("a.md", "See [the wire](wire.md) for what is on the wire.", []),
        ("a.md", "Look it up; look\nat a wire.", ["look at", "wire"]),
    ],
)
def test_retired_words_are_found(name: str, text: str, words: list[str]) -> None:
    assert [hit.word for hit in hits(Path(name), text)] == words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('    """What a page returns."""', ["What a page returns"]),
        ("# It runs.\n# Of these, none\n# is left.", ["Of these, none is left"]),
        ("-- What is left waits.\nlocal x = 1", ["What is left waits"]),
        ("It runs. Whatever ends it, all is well.", ["Whatever ends it, all is well"]),
        ("What happens then? It says what it has done. # What to do", []),
    ],
)
def test_late_subjects_are_found(text: str, found: list[str]) -> None:
    assert fronted(text) == found

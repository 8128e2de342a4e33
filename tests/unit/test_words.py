"""One word per thing (FORMAT.md, section 1): the words that were retired stay away from code, SQL, JSON and prose."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
# Bytes made once, and this list itself.
LEFT_OUT = ("LICENSE", "requirements.lock", "tests/vectors/v1/", "tests/unit/test_words.py")
SUFFIXES = {".py", ".sql", ".json", ".md", ".html", ".toml", ".yml", ".service", ".timer", ".typ", ".conf", ""}


class Retired(NamedTuple):
    """A word in a meaning that another word has now: what finds it, where it is looked for, what to write."""

    finds: str
    write: str
    within: str = ""
    planted: str = ""


RETIRED = {
    "anchor": Retired(
        r"\boutside anchors?\b|\banchored\b|\bANCHOR\b",
        "witness for a copy of a seal elsewhere; anchor is a trust anchor alone",
        planted="No outside anchor was given.",
    ),
    "sealed": Retired(
        r"\bsealed_[in]\b|\b(entry|event)_sealed\b|\bseal_entry\b|\bstill sealed\b|\bsealed (bytes|record|entry)\b",
        "ciphertext, encrypt; sealed is what a seal covers",
        planted="A stored entry, still sealed.",
    ),
    "certificate": Retired(
        r"openepm-journal certificate\b|\bCertification\(|certificate of destruction",
        "attestation; a certificate is X.509",
        planted="openepm-journal certificate --tenant albi",
    ),
    "record": Retired(
        r"\bpurge_records?\b|\bPurgeRecord\b|signed record|--record\b|record of (the|its) destruction",
        "purge log, destruction report; a record is the exact bytes of an entry",
        planted="It signs a signed record.",
    ),
    "manifest": Retired(
        r"_manifest_|\bmanifests?\b(?! \(ASiC)",
        "inventory; a manifest is an extract's manifest.json",
        within=r"^(retention/(?!export\.py)|sql/|deploy/|journal/(database|admin|writing)/)",
        planted="The manifests name every file.",
    ),
    "statement": Retired(
        r"\bread_statements?\b|\bStatement\b|\bsigned statements?\b|seal's statement",
        "listed seal, checked seal; a statement is SQL",
        planted="class Statement:",
    ),
    "destruction": Retired(
        r"\bdestroyed days?\b|\bdestruction of (a|the) day\b",
        "purge; destruction is the end of a tenant's data",
        planted="the last destroyed day of a category",
    ),
    "directory": Retired(
        r"\bDirectory\b|\bdirectory_version\b|\bdirectory (is|cannot be) refreshed\b",
        "snapshot for tenants, categories and credentials in memory",
        planted="class Directory:",
    ),
    "outcome": Retired(
        r"\bAPPEND_OUTCOMES\b|\bresult\.outcome\b|\boutcomes? of (a|an|the) append\b|\bAppendResult\(outcome",
        "answer of an append, acknowledgement of an event; an outcome is data.outcome",
        planted="if result.outcome == 1:",
    ),
    "lawful": Retired(
        r"(?i)\b(un)?lawful(ly)?\b|\blégal(e|es|ement)?\b|\blégaux\b",
        "purged under its rule, au terme de la règle de conservation: the seals show a rule, not a law",
        planted="Days up to 4 March are lawfully purged.",
    ),
    "standing": Retired(r"(?i)\bstandings?\b", "status", planted="read the standing of the service"),
}


def texts() -> dict[str, str]:
    """Return every text that the project keeps, by path."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {
        name: (ROOT / name).read_text(encoding="utf-8")
        for name in listed.split("\0")
        if name and not name.startswith(LEFT_OUT) and Path(name).suffix in SUFFIXES and (ROOT / name).is_file()
    }


def found(retired: Retired, within: dict[str, str]) -> list[str]:
    """Return the lines with a retired word, each with its place."""
    return [
        f"{name}:{number}: {line.strip()}"
        for name, text in within.items()
        if re.search(retired.within, name)
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(retired.finds, line)
    ]


@pytest.mark.parametrize("word", RETIRED)
def test_it_is_not_used_in_its_old_meaning(word: str) -> None:
    """Each line that is named has another word to say it with."""
    assert found(RETIRED[word], texts()) == [], f"{word}: write {RETIRED[word].write}"


@pytest.mark.parametrize("word", RETIRED)
def test_it_would_be_found(word: str) -> None:
    """A planted line is named."""
    retired = RETIRED[word]
    assert found(retired, {"retention/planted.py": f"first\n{retired.planted}\n"}) == [
        f"retention/planted.py:2: {retired.planted}"
    ]

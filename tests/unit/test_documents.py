"""What the documents say: links and files that are there, figures that are those of the code."""

from __future__ import annotations

import argparse
import re
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from ingest.access import Limits
from ingest.connections import EACH
from ingest.console.pages import ATTEMPTS, ATTEMPTS_PER_SECOND
from ingest.console.sessions import IDLE_SECONDS, LIFE_SECONDS
from ingest.context import EXTRACT_WAIT_SECONDS, WAIT_SECONDS
from ingest.examination import BATCH_LIMIT_EVENTS
from journal.admin.confirmation import CODE_DIGITS
from journal.audit.watch import LOOK_SECONDS
from journal.choices import INVITATION_HOURS
from journal.cli.parser import make_parser
from journal.clock import CLOCK_DEPARTURE_LIMIT, CLOCK_TOLERANCE
from journal.core.entry import OPERATIONS
from journal.core.times import MAX_RETENTION_DAYS, MIN_RETENTION_DAYS
from journal.notices.progress import LONG_SECONDS
from journal.papers.breach import NOTIFY_WITHIN
from journal.seals.receipt_key import AHEAD
from journal.seals.sealer import PURGED_HEADS_KEPT_DAYS
from journal.seals.stamper import FAILING_LIMIT, RETRY_LIMIT_SECONDS
from journal.settings import Settings
from journal.signer.protocol import CONTENT_LIMIT_BYTES, DOCUMENT_LIMIT_BYTES
from journal.signer.server import CLIENT_SECONDS
from journal.signer.signing import RECEIPT_KEY_DAYS, SIGNING_DELAY_LIMIT
from journal.status.checks import STALE_SEAL
from journal.writing.queue import LIGHT_BURST_EVENTS, LIGHT_EVENTS_PER_SECOND
from retention.policy import LAST_CALL
from retention.purge import MAX_DAYS_PER_RUN

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "ingest" / "pages" / "verifier"
# Made where the product runs, or when a release is made.
MADE = ("dist/", "var/", "sql/migrations/", "tests/vectors/v2")
ENGLISH = {2: "two", 3: "three", 5: "five", 10: "ten"}
FRENCH = {15: "quinze", 16: "seize"}
SETTINGS = Settings()
MEBIBYTE = 2**20
HOUR = timedelta(hours=1)
KEPT = f"{MAX_RETENTION_DAYS}"
FROM_ACCESS = f"{MAX_RETENTION_DAYS + SETTINGS.lateness_days}"


def page_number(part: str, name: str) -> int:
    """Return a number that a part of the verifier's page names."""
    (found,) = re.findall(rf"\b{name} = ([0-9]+)\b", (PAGE / part).read_text(encoding="utf-8"))
    return int(found)


def minutes(seconds: float) -> str:
    """Return how many minutes, in figures."""
    return f"{seconds / 60:g}"


class Said(NamedTuple):
    """What a document says, with the figure in its place."""

    document: str
    words: str

    def __str__(self) -> str:
        """Name the test."""
        return f"{self.document}: {self.words}"


README, FRENCH_README, SECURITY, DEPLOY, CHANGES = (
    "README.md",
    "README.fr.md",
    "SECURITY.md",
    "deploy/README.md",
    "CHANGELOG.md",
)

SAYS = [
    Said(README, f"before {KEPT} days from recording (by default at most {FROM_ACCESS} from the access)"),
    Said(README, f"recorded at most {SETTINGS.lateness_days} days late"),
    Said(README, f"at most {BATCH_LIMIT_EVENTS:,}, or what `/v1/me` says"),
    Said(README, f"(`Prefer: wait=N`, else {WAIT_SECONDS} s)"),
    Said(README, f"--instruction AVENANT-2026-3 # a shorter rule, in {SETTINGS.rule_delay_days} days"),
    Said(FRENCH_README, f"avant {KEPT} jours depuis l'enregistrement ({FROM_ACCESS} au plus depuis l'accès"),
    Said(FRENCH_README, f"ne sert qu'une fois, pendant {INVITATION_HOURS} heures"),
    Said(FRENCH_README, f"d'au moins {FRENCH[page_number('core/keys.js', 'PASSPHRASE_CHARACTERS')]} signes"),
    Said(FRENCH_README, f"**code de confirmation** de {FRENCH[CODE_DIGITS]} signes"),
    Said(FRENCH_README, f"{page_number('page/table.js', 'PRINTED'):_} entrées au plus pour l'impression"),
    Said(FRENCH_README, f"{page_number('reader/rows.js', 'READABLE_ENTRIES'):_} au plus."),
    Said(FRENCH_README, f"s'inscrit dans les {SETTINGS.lateness_days} jours"),
    Said(FRENCH_README, f"({NOTIFY_WITHIN // HOUR} heures)"),
    Said(SECURITY, f"over after {minutes(IDLE_SECONDS)} minutes without a page, {LIFE_SECONDS // 3600} hours after"),
    Said(SECURITY, f"after {ENGLISH[ATTEMPTS]} attempts with one login"),
    Said(SECURITY, f"forge receipts for at most {RECEIPT_KEY_DAYS.days} days"),
    Said(SECURITY, f"a receipt key for longer than {RECEIPT_KEY_DAYS.days} days"),
    Said(SECURITY, f"any text of at most {CONTENT_LIMIT_BYTES // MEBIBYTE} MiB"),
    Said(SECURITY, f"any PDF of at most {DOCUMENT_LIMIT_BYTES // MEBIBYTE} MiB"),
    Said(SECURITY, f"which readiness shows within {ENGLISH[STALE_SEAL // timedelta(minutes=1)]} minutes"),
    Said(DEPLOY, f"for {RECEIPT_KEY_DAYS.days} days, renewed {AHEAD.days} days before"),
    Said(DEPLOY, f"until {ENGLISH[LAST_CALL // HOUR]} hours before the limit"),
    Said(DEPLOY, f"at least every {ENGLISH[RETRY_LIMIT_SECONDS / 60]} minutes"),
    Said(DEPLOY, f"--retention-days N --instruction REFERENCE`, {MIN_RETENTION_DAYS} to {KEPT}"),
    Said(CHANGES, f"(`Prefer: wait=N`, else {WAIT_SECONDS} s; an extract's first byte, {EXTRACT_WAIT_SECONDS} s)"),
    Said(CHANGES, f"bounded, in all ({Limits().connections:,} a process) and for each address"),
    Said(CHANGES, f"({LIGHT_BURST_EVENTS} events at once, {LIGHT_EVENTS_PER_SECOND} per second)"),
    Said(CHANGES, f"held to {Limits().requests_per_second:,} requests/s only while the process is late"),
    Said(CHANGES, f"Heads of purged days are kept {PURGED_HEADS_KEPT_DAYS} days more"),
    Said(CHANGES, f"differ by more than {CLOCK_TOLERANCE.seconds} seconds"),
    Said(CHANGES, f"more than {minutes(CLOCK_DEPARTURE_LIMIT.seconds)} minutes ahead"),
    Said(CHANGES, f"count towards {ENGLISH[MAX_DAYS_PER_RUN]} a run"),
    Said(CHANGES, f"what waits for more than {LONG_SECONDS // 3600} h"),
    Said(CHANGES, f"PBES2 with {page_number('core/keys.js', 'PBKDF2_ROUNDS'):,} rounds of PBKDF2"),
    Said(CHANGES, f"`JOURNAL_RULE_DELAY_DAYS` ({SETTINGS.rule_delay_days})"),
    Said(CHANGES, f"`JOURNAL_LATENESS_DAYS` ({SETTINGS.lateness_days}) days late"),
    Said(CHANGES, f"(default {SETTINGS.audit_share})"),
]


def text_of(document: str) -> str:
    """Return a document's words, each after one blank."""
    return " ".join((ROOT / document).read_text(encoding="utf-8").split())


@pytest.mark.parametrize("said", SAYS, ids=str)
def test_a_figure_is_that_of_the_code(said: Said) -> None:
    """Where the code changes, so does the sentence."""
    assert said.words.replace("_", " ") in text_of(said.document).replace("_", " ")


def test_what_is_said_in_words_is_that_of_the_code() -> None:
    """Figures for which the documents have a word: a day, a minute, a quarter."""
    assert timedelta(days=1) == SIGNING_DELAY_LIMIT == FAILING_LIMIT
    assert timedelta(minutes=15) == CLOCK_DEPARTURE_LIMIT
    assert pytest.approx(15 * 60) == ATTEMPTS / ATTEMPTS_PER_SECOND
    assert (CLIENT_SECONDS, LOOK_SECONDS, SETTINGS.seal_interval_seconds, EACH) == (30, 60, 60, 4)


def test_the_failovers_of_the_guide_are_those_of_the_report() -> None:
    """How many, how many events, and the longest time without service."""
    report = (ROOT / "tests" / "faults" / "REPORT.md").read_text(encoding="utf-8")
    counted = (
        r"^- failover under load: (\d+) failovers .* of all .* longest ([\d.]+) s\), .*; (\d+) events acknowledged"
    )
    runs = re.findall(counted, report, re.MULTILINE)
    failovers, events = (sum(int(run[place]) for run in runs) for place in (0, 2))
    longest = max(float(run[1]) for run in runs)
    guide = text_of("deploy/GUIDE.fr.md")
    assert f"{failovers} basculements, {events:_} événements acquittés".replace("_", " ") in guide
    assert f"25 secondes, {longest:.0f} au plus" in guide


def plain(text: str) -> str:
    """Return a text with blanks and apostrophes of one kind."""
    return " ".join(text.replace("’", "'").replace("\\'", "'").replace("&nbsp;", " ").split())


def chapter(title: str) -> str:
    """Return a chapter of the French README."""
    return (ROOT / FRENCH_README).read_text(encoding="utf-8").split(f"## {title}\n")[1].split("\n## ")[0]


def test_what_is_quoted_of_the_screen_is_on_it() -> None:
    """Buttons, pages, views and refusals that the French README names are spelt as people read them."""
    screens = [path for part in ("console", "pages") for path in (ROOT / "ingest" / part).rglob("*") if path.is_file()]
    shown = plain(
        " ".join(path.read_text(encoding="utf-8") for path in screens if path.suffix in {".html", ".js", ".py"})
    )
    said = plain((ROOT / FRENCH_README).read_text(encoding="utf-8"))
    quoted = re.findall(r"« ([^»]+) »", said) + re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", said)
    for title in ("Le bureau de la commune", "Lire un extrait"):
        quoted += [plain(name) for name in re.findall(r"^- \*\*([^*]+)\*\*", chapter(title), re.MULTILINE)]
    assert len(quoted) > 40
    assert [words for words in quoted if words not in shown] == []


def test_the_operations_that_are_named_exist() -> None:
    """README gives some of the closed list as examples."""
    (named,) = re.findall(r"`operation` says what was done in the module \(([^)]+)…", text_of(README))
    assert set(re.findall(r"`([a-z-]+)`", named)) <= OPERATIONS.keys()


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the commands of a parser by name."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {name: each for group in groups for name, each in group.choices.items()}


def unknown_to_the_command(typed: str) -> list[str]:
    """Return the words of a command, as a document names it, that are no command or no option of it."""
    parser = make_parser()
    _, *words = typed.split()
    while words and (commands := commands_of(parser)) and re.fullmatch("[a-z][a-z-]*", words[0]):
        name = words.pop(0)
        if name not in commands:
            return [name]
        parser = commands[name]
    options = {option for action in parser._actions for option in action.option_strings}
    named = [word.partition("=")[0].strip("[],;:)") for word in words if word.startswith("--")]
    return [option for option in named if option not in options]


def test_a_command_that_does_not_exist_is_found() -> None:
    """As one of its options."""
    assert unknown_to_the_command("openepm-journal tenant forget albi") == ["forget"]
    assert unknown_to_the_command("openepm-journal purge --dry-run --now") == ["--now"]
    assert unknown_to_the_command("openepm-journal purge --dry-run") == []


def documents() -> list[Path]:
    """Return every document that is kept."""
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.splitlines()]


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_it_names_is_there(document: Path) -> None:
    """Every link leads to a file, every file of ours that is named exists, and so do commands and their options."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    text_without_code = re.sub(r"`[^`]*`", "", text)
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", text_without_code)
    tops = "|".join(sorted({path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}))
    named = [name for name in re.findall(rf"`((?:{tops})/[^`\s*…]+)`", text) if not name.startswith(MADE)]
    typed = re.findall(r"`(openepm-journal [a-z-][^`]*)`", text)
    assert {command: unknown for command in typed if (unknown := unknown_to_the_command(command))} == {}
    missing = [name for name in (*links, *named) if not any((base / name).exists() for base in (document.parent, ROOT))]
    assert missing == []

"""The guide's sizing table follows from the costs that it gives, and its limits are those of the service."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ingest import connections, context, direct, readers
from ingest.access import Limits

GUIDE = (Path(__file__).parents[2] / "deploy" / "GUIDE.fr.md").read_text(encoding="utf-8")
RESULTS = (Path(__file__).parents[1] / "bench" / "RESULTS.md").read_text(encoding="utf-8")
COMMUNES = (300, 4_000, 36_000)
AGENTS_PER_COMMUNE = 27_000 / 4_000
EVENTS_PER_AGENT, CATEGORIES, DAYS, EVENT_BYTES, PEAK = 500, 5, 60, 328, 12.8
DAY_SECONDS = 86_400
MEASURED_COMMUNES = 4_000


def row(name: str) -> list[float]:
    """Return the numbers of a row of the table."""
    (line,) = re.findall(rf"^\| {re.escape(name)} \|(.*)\|$", GUIDE, re.MULTILINE)
    return [float(cell.replace(" ", "").replace(",", ".")) for cell in line.split("|")]


def cost(pattern: str) -> list[int]:
    """Return the numbers of a cost that the guide gives."""
    (found,) = re.findall(pattern, GUIDE)
    return [int(number) for number in ([found] if isinstance(found, str) else found)]


def test_the_sizing_table_follows_from_the_costs() -> None:
    """Each row is what its sentence says, to the last digit that is shown."""
    agents = [count * AGENTS_PER_COMMUNE for count in COMMUNES]
    events = [count * EVENTS_PER_AGENT for count in agents]
    peak = [count / DAY_SECONDS * PEAK for count in events]
    (overhead,) = cost(r"\| (\d+) octets et l'événement")
    assert row("agents") == pytest.approx(agents, rel=0.02)
    assert row("chaînes") == [count * CATEGORIES for count in COMMUNES]
    assert row("millions d'événements par jour") == pytest.approx([count / 1e6 for count in events], rel=0.02)
    assert row("événements par seconde, à la pointe") == pytest.approx(peak, rel=0.02)
    processors = sum(cost(r"un à un, 64 connexions \| (\d+) µs pour le service, (\d+) µs"))
    assert row("processeurs à la pointe, un à un") == pytest.approx([one * processors / 1e6 for one in peak], rel=0.04)
    kept = [one * DAYS * (overhead + EVENT_BYTES) / 1e9 for one in events]
    assert row("Go conservés pendant 60 jours") == pytest.approx(kept, rel=0.02)
    assert row("installations de deux processeurs") == [-(-count // MEASURED_COMMUNES) for count in COMMUNES]


def test_the_costs_are_no_better_than_those_measured() -> None:
    """Of one process, over HTTP; those of the guide may be of a busier machine, not of a better one."""
    http = RESULTS.partition("\n## http\n")[2].partition("\n## ")[0]
    measured = re.findall(r"^the service, 1 worker +([\d.]+) +([\d.]+) +[\d.]+ +[\d,]+ ", http, re.MULTILINE)
    singles, batches = ([float(number) for number in pair] for pair in measured)
    told_singles = cost(r"un à un, 64 connexions \| (\d+) µs pour le service, (\d+) µs")
    told_batches = cost(r"lots de 1 000 \| (\d+) µs pour le service, (\d+) µs")
    for told, found in ((told_singles, singles), (told_batches, batches)):
        assert sum(found) <= 1.1 * sum(told)
    assert sum(singles) > 3 * sum(batches)


def test_the_figures_of_an_overload_are_the_services() -> None:
    """Each sentence tells the number that the code holds."""
    limits = Limits()
    (chapter,) = re.findall(r"^### Surcharge\n(.*?)^### ", GUIDE, re.MULTILINE | re.DOTALL)
    text = " ".join(chapter.split())
    refusals = direct.STEP_REFUSALS / direct.STEP_SECONDS
    for sentence in (
        f"qui dépasse {spaced(limits.requests_per_second)} requêtes par seconde",
        f"D'une commune, {spaced(direct.WAITING_MOST)} événements envoyés un à un attendent au plus",
        f"; {direct.WAITING_FEW}, quand le plus ancien attend depuis {direct.PATIENCE_SECONDS:g} s".replace(".", ","),
        f"Une commune dont {readers.FLOOD_FROM} requêtes attendent d'être lues",
        "et quatre fois plus que d'une autre qui envoie",
        "elle est lue deux requêtes à la fois",
        "n'emploie pas plus d'un cinquième d'un processeur",
        f", et toujours après {1000 * readers.PAUSE_MOST_SECONDS:g} ms",
        f"sont lues {1000 * readers.READING_SECONDS:g} ms à la fois",
        f"s'ajoute aux {context.WAIT_SECONDS} s de la réponse",
        f"{readers.HELD_MOST} attendent ainsi au plus",
        f"Les refus partent à {refusals:g} par seconde au plus",
        f"Une adresse tient un quart des {spaced(limits.connections)} connexions d'un processus",
    ):
        assert sentence in text
    assert (readers.FLOOD_TIMES, readers.READ_OF_FLOOD, readers.FLOOD_SHARE) == (4, 2, 1 / 5)
    assert connections.EACH == 4


def spaced(number: float) -> str:
    """Write a number as the guide does."""
    return f"{number:,.0f}".replace(",", " ")

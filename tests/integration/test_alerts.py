"""The alerts in deploy/monitoring ask for what /metrics serves, and each says what to do."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ingest.instruments import STATUSES
from ingest.problems import KINDS
from journal.notices.host import copied_path
from tests.support.refused_events import valid_event
from tests.support.scrape import Scrape, scrape

if TYPE_CHECKING:
    from tests.support.edge import RunningEdge

pytestmark = pytest.mark.asyncio(loop_scope="module")

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
RULES = (MONITORING / "openepm-journal.rules.yml").read_text(encoding="utf-8")
TESTS = (MONITORING / "openepm-journal.test.yml").read_text(encoding="utf-8")
# One alert each, as the file's first lines promise: on lines of their own, so that no reader of YAML is needed here.
ALERTS = {block.split("\n", 1)[0].strip(): block for block in RULES.split("- alert: ")[1:]}
METRIC = re.compile(r"openepm_journal_\w+")
# What the watch over the backups writes, on another host.
WATCHED = set(METRIC.findall((MONITORING.parent / "backup" / "watch").read_text(encoding="utf-8")))
DASHBOARD = json.loads((MONITORING / "openepm-journal.dashboard.json").read_text(encoding="utf-8"))
SELECTOR = re.compile(r"(openepm_journal_\w+)\{([^}]*)\}")
MATCHER = re.compile(r"(\w+)(=~|!=|=)\"([^\"]*)\"")
# Beside what is served now: what only appears once it happens.
LABEL_VALUES = {"status": set(STATUSES), "reason": {kind.name for kind in KINDS}, "route": {"/readyz", "/recordz"}}


def line(block: str, key: str) -> str:
    """Return the value of a key, on one line."""
    (found,) = re.findall(rf"^ +{key}: (.+)$", block, re.MULTILINE)
    return str(found)


async def served(edge: RunningEdge) -> Scrape:
    """Return what a service serves that has been asked for something, was sealed, audited and its keys copied."""
    copied_path(edge.service.settings).touch()
    await edge.post(valid_event(id="served", time=datetime.now(UTC).isoformat()))
    await edge.service.sealer.seal_open(even_if_still=True)
    return await scrape(edge.session)


async def test_every_alert_asks_for_what_there_is(edge: RunningEdge) -> None:
    """Each metric is served under that very name, with the labels and values that the alert looks for."""
    found = await served(edge)
    names, values = found.names() | WATCHED, found.labels() | LABEL_VALUES
    assert len(ALERTS) > 20
    for name, block in ALERTS.items():
        expression = line(block, "expr")
        asked = set(METRIC.findall(expression))
        assert asked, name
        assert asked <= names, name
        for _, matchers in SELECTOR.findall(expression):
            for label, operator, value in MATCHER.findall(matchers):
                wanted = set(value.split("|")) if operator == "=~" else {value}
                assert wanted <= values[label], (name, label)


@pytest.mark.parametrize("name", sorted(ALERTS))
async def test_every_alert_says_what_to_do(name: str) -> None:
    """Each alert has a severity, a summary, and a sentence for the person on call."""
    block = ALERTS[name]
    assert re.fullmatch(r"Journal[A-Z]\w+", name)
    assert line(block, "labels") in ("{severity: critical}", "{severity: warning}")
    for key in ("summary", "runbook"):
        assert re.fullmatch(r"[A-Z].{20,}\.", line(block, key))
    assert set(re.findall(r"openepm-journal ([a-z-]+)", line(block, "runbook"))) <= {
        "doctor",
        "seal",
        "purge",
        "handover",
        "recover",
        "sources",
        "loss",
        "rhythm",
        "verify-store",
    }


async def test_what_the_rules_are_tested_with_is_served(edge: RunningEdge) -> None:
    """Promtool's series bear names that there are."""
    assert set(METRIC.findall(TESTS)) <= (await served(edge)).names() | WATCHED


async def test_the_dashboard_asks_for_what_there_is(edge: RunningEdge) -> None:
    """Each panel has a title of its own, its place, and queries whose metrics and labels are served."""
    found = await served(edge)
    panels = DASHBOARD["panels"]
    assert len({panel["title"] for panel in panels}) == len({panel["id"] for panel in panels}) == len(panels) > 20
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
    for panel in panels:
        for target in panel["targets"]:
            asked = set(METRIC.findall(target["expr"]))
            assert asked, panel["title"]
            assert asked <= found.names() | WATCHED, panel["title"]
            by = [
                label.strip() for group in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in group.split(",")
            ]
            assert {
                *by,
                *re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]),
            } <= found.labels().keys() | LABEL_VALUES.keys()


@pytest.mark.needs("promtool")
async def test_prometheus_takes_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    """Each is an expression that it can parse."""
    queries = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    path = tmp_path / "queries.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.needs("amtool")
async def test_alertmanager_takes_its_configuration() -> None:
    """The example is valid, wakes the one on call for what is critical, and names alerts that there are."""
    path = MONITORING / "alertmanager.yml"
    for arguments, expected in (
        (["check-config", str(path)], "SUCCESS"),
        (["config", "routes", "test", f"--config.file={path}", "severity=critical"], "on-call"),
        (["config", "routes", "test", f"--config.file={path}", "severity=warning"], "working-hours"),
    ):
        done = subprocess.run(["amtool", *arguments], capture_output=True, text=True, check=False)
        assert (done.returncode, expected in done.stdout) == (0, True), done.stdout + done.stderr
    assert set(re.findall(r'alertname="(\w+)"', path.read_text(encoding="utf-8"))) <= ALERTS.keys()


@pytest.mark.needs("promtool")
@pytest.mark.parametrize(
    "arguments", [("check", "rules", "openepm-journal.rules.yml"), ("test", "rules", "openepm-journal.test.yml")]
)
async def test_prometheus_takes_them(arguments: tuple[str, ...]) -> None:
    """A service in order raises no alert, one where everything fails raises each of them."""
    done = subprocess.run(["promtool", *arguments], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

"""The connector of PHP modules, run by a real PHP against a real service."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.support.rig import CATEGORY, SOURCE, TENANTS

if TYPE_CHECKING:
    from tests.support.serving import Site

DIRECTORY = Path(__file__).parents[2] / "deploy" / "openepm"
COMMAND_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    """A connector's settings and spool, for one commune of a site."""

    site: Site
    home: Path
    source: str = SOURCE
    tenant: str = TENANTS[0]

    @classmethod
    def install(cls, site: Site, home: Path, *, source: str = SOURCE, **settings: object) -> Connector:
        """Write the token and the settings as the connector's page says."""
        connector = cls(site=site, home=home, source=source)
        connector.spool.mkdir(parents=True, mode=0o700, exist_ok=True)
        connector.token.write_text(site.modules[connector.tenant], encoding="ascii")
        chosen = {
            "url": site.url,
            "token_file": str(connector.token),
            "source": source,
            "spool": str(connector.spool),
            **settings,
        }
        lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in chosen.items()]
        connector.config.write_text("".join(lines), encoding="utf-8")
        return connector

    @property
    def config(self) -> Path:
        """Its settings."""
        return self.home / "journal.ini"

    @property
    def token(self) -> Path:
        """The file of its token."""
        return self.home / "journal.token"

    @property
    def spool(self) -> Path:
        """Its spool, of all categories."""
        return self.home / "spool"

    def program(self, code: str) -> list[str]:
        """Return the command that runs PHP code in which `$j` is the connector and an agent is known."""
        start = (
            f"require {str(DIRECTORY / 'OpenepmJournal.php')!r};"
            f"$j = OpenepmJournal::fromFile({str(self.config)!r}); $j->agent('c.martin');"
        )
        return ["php", "-d", "error_log=", "-r", start + code]

    def run(self, code: str) -> str:
        """Run PHP code; return what it printed."""
        done = subprocess.run(self.program(code), capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the connector's command."""
        return subprocess.run(
            [DIRECTORY / "openepm-journal-php", *words, "--config", self.config],
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def flush(self, command: str = "flush") -> str:
        """Send what waits, or again what was set aside; return what stopped it."""
        return self.command(command).stderr.strip()

    def end_pause(self) -> None:
        """Let the next page send at once, as it does when the pause after a failure is over."""
        for path in self.spool.glob("*/state.json"):
            state = json.loads(path.read_text(encoding="utf-8"))
            state.pop("retry_at", None)
            path.write_text(json.dumps(state).ljust(4096), encoding="utf-8")

    def aside(self, category: str = CATEGORY) -> list[dict[str, str]]:
        """Return what was set aside: at, reason, event."""
        lines = [
            path.read_text(encoding="utf-8") for path in sorted(self.spool.glob(f"{category}/quarantine-*.ndjson"))
        ]
        return [json.loads(line) for line in "".join(lines).splitlines()]

    def waiting(self, category: str = CATEGORY) -> list[dict[str, Any]]:
        """Return the events of the segments that are on the disk."""
        lines = [path.read_bytes() for path in sorted((self.spool / category).glob("0*.ndjson"))]
        return [json.loads(line) for line in b"".join(lines).splitlines()]

    async def entries(self, category: str = CATEGORY) -> list[dict[str, Any]]:
        """Return the source's events of the category that the journal shows, in the order of their indexes."""
        today = datetime.now(UTC).date()
        asked = {
            "from": (today - timedelta(days=1)).isoformat(),
            "to": today.isoformat(),
            "purpose": "lawfulness",
            "requester": "DPD",
        }
        headers = {"Authorization": f"Bearer {self.site.clients[self.tenant]}"}
        url = f"{self.site.url}/v1/categories/{category}/extracts"
        async with aiohttp.ClientSession() as session, session.post(url, json=asked, headers=headers) as answer:
            body = await answer.read()
            assert answer.status == 200, body
        with zipfile.ZipFile(io.BytesIO(body)) as container:
            lines = container.read("entries.ndjson").splitlines()
        events = [json.loads(line)["event"] for line in lines]
        return [event for event in events if event["source"] == self.source]

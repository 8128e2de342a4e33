"""The signer in a process of its own: killed at each step, hung, absent, its memory deleted; the service records on."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from journal.audit.run import Audit
from journal.cli.installation import open_service
from journal.clock import SystemClock
from journal.core.errors import SignerError
from journal.core.seal import parse_seal
from journal.signer import connect
from tests.support.commands import command
from tests.support.forks import START_SIGNER
from tests.support.rig import CATEGORY, TENANTS, event_body
from tests.support.serving import Serving
from tests.support.signer_process import a_site_with_a_signer

if TYPE_CHECKING:
    from journal.status.checks import Checks
    from tests.support.serving import Site
    from tests.support.signer_process import SignerProcess

TENANT = TENANTS[0]
NOBODY = 65534
EVENTS = f"/v1/categories/{CATEGORY}/events"
EXTRACTS = f"/v1/categories/{CATEGORY}/extracts"
HEALED_SECONDS = 60
LOOK_SECONDS = 0.1
STEPS = [
    f"{step} {when}"
    for step in ("session.compare", "session.propose", "memory.sign", "identity.sign_seal", "memory.done")
    for when in ("before", "after")
]


class Client:
    """What the service answers."""

    def __init__(self, site: Site, session: aiohttp.ClientSession, checks: Checks) -> None:
        """Ask this service, and these checks for what readiness keeps to the operator."""
        self._checks = checks
        self._site = site
        self._session = session
        self._number = 0
        self.is_signed = False

    async def record(self) -> int:
        """Send an event; return the status, and note whether its receipt is signed."""
        self._number += 1
        headers = {
            "Authorization": f"Bearer {self._site.modules[TENANT]}",
            "Content-Type": "application/cloudevents+json",
        }
        body = event_body(f"e{self._number}", datetime.now(UTC))
        async with self._session.post(self._site.url + EVENTS, json=body, headers=headers) as answer:
            self.is_signed = "signature" in await answer.json()
            return answer.status

    async def signed(self) -> None:
        """Record until a receipt is signed."""
        async with asyncio.timeout(HEALED_SECONDS):
            while not self.is_signed:
                assert await self.record() == 201
                await asyncio.sleep(0.1)

    async def extract(self) -> tuple[int, Any]:
        """Ask for an extract; return the status, and the problem if it is one."""
        day = datetime.now(UTC).date().isoformat()
        headers = {"Authorization": f"Bearer {self._site.clients[TENANT]}"}
        asked = {"from": day, "to": day, "purpose": "lawfulness", "requester": "DPD"}
        async with self._session.post(self._site.url + EXTRACTS, json=asked, headers=headers) as answer:
            if answer.status == 200:
                await answer.read()
                return answer.status, None
            return answer.status, await answer.json(content_type=None)

    async def seals(self) -> str:
        """Return what readiness says of the seals; nothing where all is well."""
        async with self._session.get(self._site.url + "/readyz") as answer:
            found = await answer.json()
            is_ready = "failing" not in found["checks"].values()
            assert answer.status == (200 if is_ready else 503), found
        return (await self._checks.run())["seals"] or "" if found["checks"]["seals"] == "failing" else ""

    async def healed(self) -> None:
        """Wait until readiness has nothing to say; then an extract can be made."""
        async with asyncio.timeout(HEALED_SECONDS):
            while await self.seals():  # noqa: ASYNC110  (readiness tells nobody that it changes)
                await asyncio.sleep(LOOK_SECONDS)
        assert (await self.extract())[0] == 200

    async def check_refused(self, *said: str) -> None:
        """Check that events are recorded, extracts refused by a problem, and that readiness says why."""
        assert await self.record() == 201
        status, problem = await self.extract()
        assert (status, problem["type"]) == (503, "urn:openepm-journal:problem:unavailable")
        # Readiness may be a second old.
        async with asyncio.timeout(HEALED_SECONDS):
            found = await self.seals()
            while not all(words in found for words in said):
                await asyncio.sleep(LOOK_SECONDS)
                found = await self.seals()
        assert await self.record() == 201


@pytest.mark.long
async def test_a_signer_that_fails_and_comes_back(dsn: str, tmp_path: Path) -> None:
    """Absent, hung, killed, or without its memory: events are taken, nothing is signed, and it heals by itself.

    The service has no signing key at all; after the memory is lost, the command that readiness names is enough.
    """
    async with a_site_with_a_signer(dsn, tmp_path) as signer:
        site = signer.site
        assert not site.settings.signing_key_path.exists()
        async with (
            await Serving.start(site) as serving,
            aiohttp.ClientSession() as session,
            open_service(dsn, site.settings, SystemClock()) as beside,
        ):
            client = Client(site, session, beside.service.checks)
            await client.check_refused("cannot be reached (No such file", "systemctl status openepm-journal-signer")
            assert not client.is_signed
            await signer.start()
            await client.healed()
            await client.signed()
            signer.stop()
            await client.check_refused("has not answered for 5 s", "restart it")
            assert client.is_signed
            signer.go_on()
            await client.healed()
            await signer.kill()
            await client.check_refused("cannot be reached (Connection refused)")
            assert client.is_signed
            await signer.start()
            await client.healed()
            signer.memory.unlink()
            await client.check_refused("memory", "is missing", "openepm-journal signer --learn")
            said = await asyncio.to_thread(command, tmp_path, "signer", "--learn", **served(site))
            assert said.stdout.startswith("learned: the signer goes on from seal"), said.stderr
            await client.healed()
            assert await serving.stop() == 0
        said = await asyncio.to_thread(command, tmp_path, "verify-store", **served(site))
        assert said.returncode == 0, said.stdout + said.stderr


def served(site: Site) -> dict[str, str]:
    """Return the settings of the site for a command."""
    return {name: value for name, value in site.environment.items() if name.startswith("JOURNAL_")}


@pytest.mark.parametrize("steps", [STEPS[1::4], pytest.param(STEPS, marks=pytest.mark.campaign)], ids=["some", "all"])
async def test_killed_at_each_step(dsn: str, tmp_path: Path, steps: list[str]) -> None:
    """Before and after each step of a seal: the next signer goes on, and no number has two seals."""
    async with a_site_with_a_signer(dsn, tmp_path) as signer:
        settings = signer.site.settings
        async with open_service(dsn, settings, SystemClock()) as installation:
            await installation.maintenance.prepare()
            sealer, store = installation.service.sealer, installation.service.store
            await signer.start()
            assert await sealer.seal_open(even_if_still=True) is not None
            await signer.kill()
            for step in steps:
                dying = str(Path(__file__).with_name("dying_signer.py"))
                await signer.start([dying, *step.split(), *arguments(signer)])
                with pytest.raises(SignerError, match=r"has ended while it was asked.*restart it"):
                    await sealer.seal_open(even_if_still=True)
                await signer.kill()
                await signer.start(["-m", "journal.signer", *arguments(signer)])
                assert (await installation.service.checks.run())["seals"] is None
                assert await sealer.seal_open(even_if_still=True) is not None, step
                await signer.kill()
            seals = [parse_seal(row.text) for row in await store.read_seals(0, 1000)]
            assert [seal.number for seal in seals] == list(range(1, len(seals) + 1))
            assert all(later.previous == seal.digest for seal, later in pairwise(seals))
            assert await Audit(installation.service).run(lambda _: None) == []


def arguments(signer: SignerProcess) -> list[str]:
    """Return what the signer's own program is given."""
    settings = signer.site.settings
    files = (signer.directory / "signing.key", settings.signing_cert_path, signer.memory, settings.trust_path)
    return ["--socket", signer.site.signer_socket, *map(str, files)]


async def test_the_child_of_an_embedded_service(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signer that was killed is started again, one that hangs is killed; it ends with its parent's use of it."""
    monkeypatch.setattr(connect, "_start", START_SIGNER)
    async with a_site_with_a_signer(dsn, tmp_path) as signer:
        shutil.move(signer.directory / "signing.key", signer.site.settings.signing_key_path)
    async with open_service(dsn, signer.site.settings.__class__(**own(signer.site)), SystemClock()) as installation:
        await installation.maintenance.prepare()
        sealer = installation.service.sealer
        assert await sealer.seal_open(even_if_still=True) is not None
        [first] = children()
        os.kill(first, signal.SIGKILL)
        child: Any = installation.service.signer._connector
        await child._process.wait()
        assert await sealer.seal_open(even_if_still=True) is not None
        [second] = children()
        with monkeypatch.context() as patch:
            patch.setattr(connect, "START_SECONDS", 0.0)  # it has had its time to start
            patch.setattr(connect, "HUNG_SECONDS", 0.5)
            os.kill(second, signal.SIGSTOP)
            with pytest.raises(SignerError, match=r"has not answered for .* it is started again at the next attempt"):
                await sealer.seal_open(even_if_still=True)
        assert await sealer.seal_open(even_if_still=True) is not None
        [third] = children()
    assert children() == []
    assert len({first, second, third}) == 3


def own(site: Site) -> dict[str, Any]:
    """Return the settings of a service that starts its own signer."""
    values = {name: getattr(site.settings, name) for name in site.settings.__struct_fields__}
    return values | {"signer_socket": "none"}


def children() -> list[int]:
    """Return the signers that this process has started and that run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().rpartition(")")
            command_line = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        fields = rest.split()
        if int(fields[1]) == os.getpid() and b"journal.signer" in command_line and fields[0] != "Z":
            found.append(int(name.split()[0]))
    return found


ASK = """
import os, socket, sys
os.setgroups([])
os.setresgid(*[int(sys.argv[2])] * 3)
os.setresuid(*[int(sys.argv[3])] * 3)
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
print(b"greeting" in client.recv(1000))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may be another account")
async def test_who_may_ask(dsn: str, tmp_path: Path) -> None:
    """Its own group may, an account of another group may not, even where the socket's mode would let it."""
    async with a_site_with_a_signer(dsn, tmp_path) as signer:
        await signer.start()
        path = signer.site.signer_socket
        assert signer.open_to_all() == 0o660
        for gid, may in ((os.getegid(), "True"), (NOBODY, "False")):
            line = [sys.executable, "-c", ASK, path, str(gid), str(NOBODY)]
            asked = await asyncio.to_thread(subprocess.run, line, capture_output=True, text=True, check=True)
            assert asked.stdout.strip() == may


async def test_a_signer_that_cannot_start(dsn: str, tmp_path: Path) -> None:
    """One line says what is wrong: a second one on the socket, or a key that is not there."""
    async with a_site_with_a_signer(dsn, tmp_path) as signer:
        await signer.start()
        assert "another signer listens on" in await refused(signer)
        await signer.kill()
        (signer.directory / "signing.key").unlink()
        assert "signing.key cannot be read: No such file" in await refused(signer)


async def refused(signer: SignerProcess) -> str:
    """Return what it says as it ends."""
    line = [sys.executable, "-m", "journal.signer", *arguments(signer)]
    done = await asyncio.to_thread(subprocess.run, line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    return done.stderr

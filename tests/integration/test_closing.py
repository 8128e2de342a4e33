"""The end of a contract, first step: the commune gets all that is kept of it, and nothing follows what it got."""

from __future__ import annotations

import asyncio
from contextlib import closing as closing_now
from datetime import timedelta
from hashlib import sha256
from itertools import product
from pathlib import Path

import pytest

from journal.admin.administration import NewCategory
from journal.admin.recipient import read_recipient, read_recipient_pem
from journal.core.entry import JOURNAL_CATEGORY, RESERVED_TENANT, Compartment
from journal.core.errors import BusyError, ExpiredCertificateError, OperatorError, StoreError
from journal.pki.certificates import der_to_pem
from retention.closing import Closing
from retention.outbox import Outbox
from tests.support.clocks import MovedClock
from tests.support.communes import commune
from tests.support.contents import told
from tests.support.ending import HOLDER, PEM, StopError, interrupted, lived_world, open_export
from tests.support.pdf import check_signature, read_text
from tests.support.world import CATEGORY, DAY, FIRST, OTHER_TENANT, SERVICE, START, TENANT, World, make_event

pytestmark = [pytest.mark.world(made_by=lived_world), pytest.mark.usefixtures("no_documents")]

# What a close writes, in its order; the outbox puts the files first, then the inventory's signature.
CLOSING_STEPS = ("writer.submit", "store.close_tenant", "outbox.place", "outbox.put", "store.note_export")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give the directory of an export."""
    directory = tmp_path / "export"
    directory.mkdir()
    return directory


async def test_a_certificate_that_has_expired(world: World, root: Path) -> None:
    """Nothing is closed that could then be neither sealed nor exported."""
    # This service's clock alone: two years of days need not be made.
    world.clock.offset += world.service.identity.not_after - world.clock.now() + DAY
    with pytest.raises(ExpiredCertificateError, match="install a renewed one"):
        await world.installation.closing.close(TENANT, root, PEM)
    (tenant,) = [row for row in await world.service.store.read_tenants() if row.code == TENANT]
    assert not tenant.closed


@pytest.mark.documents
async def test_an_export(world: World, root: Path) -> None:
    """Every compartment whole, empty ones too, to the last entry, which announces it; nothing is accepted after."""
    mine, _ = await world.installation.administration.credentials.add(
        role="client", tenant=TENANT, categories=[CATEGORY]
    )
    exported = await world.installation.closing.close(TENANT, root, PEM)
    reports = open_export(world, root)
    sizes = {category: [report.manifest.head.size for report in found] for category, found in reports.items()}
    assert sizes == {CATEGORY: [9], "ecrits": [6], "assistance": [0], "comptes": [0], JOURNAL_CATEGORY: [4]}
    assert exported.files == 5
    slip = exported.path.with_suffix(".pdf").read_bytes()
    assert sha256(exported.path.read_bytes()).hexdigest() in read_text(slip, root / "slip.pdf")
    await check_signature(slip, world.settings.trust_path.read_bytes(), world.clock.now())
    last = reports[JOURNAL_CATEGORY][0].manifest
    assert {report.manifest.request.index for found in reports.values() for report in found} == {last.head.size - 1}
    with pytest.raises(StoreError, match="commune has left"):
        await world.record(1)
    rows = {row.id: row for row in await world.service.store.list_credentials()}
    assert rows[mine].revoked_at is not None
    assert [data["change"] for kind, _, data in await told(world, RESERVED_TENANT) if kind == "tenant"] == [
        "export begun", "exported",
    ]  # fmt: skip
    await world.record(1, tenant=OTHER_TENANT)
    await world.seal()
    assert await world.audit() == []


async def test_what_is_acknowledged_is_exported(world: World, root: Path) -> None:
    """Modules that post while a contract ends: what they have a receipt for is in the export, the rest is refused."""
    receipts = []
    begun, refused = asyncio.Event(), asyncio.Event()

    async def post() -> None:
        async with world.another_process() as other:
            compartment = Compartment(SERVICE, TENANT, CATEGORY)
            while True:
                event = make_event(world.clock.now())
                try:
                    outcomes = await other.service.writer.submit(compartment, "test", [event], 1000)
                except StoreError:
                    refused.set()
                    return
                receipts.append(outcomes[0].receipt)
                begun.set()

    posting = asyncio.create_task(post())
    await begun.wait()
    await world.installation.closing.close(TENANT, root, PEM)
    await posting
    assert refused.is_set()
    (report,) = open_export(world, root)[CATEGORY]
    assert report.manifest.head.size == 9 + len(receipts)
    assert receipts[-1].index == report.manifest.head.size - 1


async def test_days_are_divided(world: World, root: Path) -> None:
    """Where a file would be larger than its recipient can open, its days are divided, down to single ones."""
    closing = Closing(world.service, world.installation.administration, file_limit_bytes=1000)
    await closing.close(TENANT, root, PEM)
    reports = open_export(world, root)
    days = [(report.manifest.first_day, report.manifest.last_day) for report in reports[CATEGORY]]
    assert days == [(FIRST + number * DAY,) * 2 for number in range(3)]
    assert [report.manifest.disclosed for report in reports[CATEGORY]] == [3, 3, 3]


async def test_what_is_purged_is_not_missed(world: World, root: Path) -> None:
    """Days that were purged before are stated as such, and the export holds the rest, also days after the close."""
    administration = world.installation.administration
    await administration.add_category(NewCategory(code="brefs", label="Brefs", retention_days=2))
    await world.installation.maintenance.prepare()
    await world.record(2, category="brefs")
    await world.travel_to(FIRST + 3 * DAY)
    await world.record(4, category="brefs")
    await world.travel_to(FIRST + 4 * DAY)
    await world.installation.purger.run()
    with pytest.raises(OperatorError, match="Not a directory"):
        await world.installation.closing.close(TENANT, world.settings.trust_path, PEM)
    await administration.close_tenant(TENANT, read_recipient_pem(PEM))
    await administration.add_category(NewCategory(code="tard", label="Tard"))
    await world.travel_to(FIRST + 5 * DAY)
    # The day in between is past its limit, and waits for the purge.
    await world.installation.closing.close(TENANT, root)
    reports = open_export(world, root)
    assert "tard" not in reports
    (brief,) = reports["brefs"]
    assert (brief.manifest.base.size, brief.manifest.head.size, brief.manifest.first_day) == (6, 6, FIRST + 4 * DAY)
    assert reports[CATEGORY][0].manifest.disclosed == 9


async def test_the_certificate_of_the_hand_over(world: World, root: Path) -> None:
    """It is used where none is given; the hand-over ends with the contract, and with it what was wrong with it."""
    administration = world.installation.administration
    await administration.register_recipient(TENANT, PEM)
    await world.service.store.raise_handover_fault(TENANT, category=None, day=None, reason="r", detail="d")
    assert (await world.service.status()).row.handover_faults == 1
    with pytest.raises(OperatorError, match="with --export-to, or end the hand-over first"):
        await world.installation.closing.close_without_export(TENANT)
    await world.installation.closing.close(TENANT, root)
    assert open_export(world, root)[CATEGORY][0].manifest.disclosed == 9
    assert await world.service.store.list_recipients() == []
    # A run that the close overtook says so in vain.
    await world.service.store.raise_handover_fault(TENANT, category=None, day=None, reason="r", detail="late")
    assert await world.service.store.read_handover_faults() == []
    assert (await world.service.status()).row.handover_faults == 0


class TestAgain:
    """The same command, said twice."""

    async def test_what_is_whole_stays(self, world: World, root: Path) -> None:
        """Nothing is made nor recorded again; what is lost or damaged is; a lost signature is."""
        closing = world.installation.closing
        first = await closing.close(TENANT, root, PEM)
        size = await world.size(RESERVED_TENANT, JOURNAL_CATEGORY)
        files = {path: path.read_bytes() for path in first.path.parent.glob("*.p7m")}
        first.path.with_name(f"{first.path.name}.p7s").unlink()
        assert await closing.close(TENANT, root) == first
        assert {path: path.read_bytes() for path in first.path.parent.glob("*.p7m")} == files
        assert await world.size(RESERVED_TENANT, JOURNAL_CATEGORY) == size
        open_export(world, root)
        for damage in (Path.unlink, lambda path: path.write_bytes(b"x"), lambda _: first.path.write_bytes(b"{}")):
            damage(next(iter(files)))
            await closing.close(TENANT, root)
            open_export(world, root)
        assert await world.size(category=JOURNAL_CATEGORY) == 2

    async def test_to_another_certificate(self, world: World, root: Path) -> None:
        """A commune that has lost its key gets another export, which the service's journal tells of."""
        closing = world.installation.closing
        await closing.close(TENANT, root, PEM)
        holder = commune("RSA")
        await closing.close(TENANT, root, der_to_pem([holder.certificate]))
        open_export(world, root, holder=holder)
        begun = [data for _, _, data in await told(world, RESERVED_TENANT) if data["change"] == "export begun"]
        assert [data["recipient"] for data in begun] == [
            read_recipient(made.certificate).sha256.hex() for made in (HOLDER, holder)
        ]

    async def test_on_another_day(self, world: World, root: Path) -> None:
        """An export made days later holds the same, up to the close, and nothing else is left there."""
        first = await world.installation.closing.close(TENANT, root, PEM)
        (root / f"{TENANT}.export" / f"{TENANT}_{CATEGORY}_2026-03-02_2026-03-02.asice.p7m").write_bytes(b"cut short")
        await world.travel_to(FIRST + 10 * DAY)
        first.path.unlink()
        await world.installation.closing.close(TENANT, root)
        reports = open_export(world, root)
        assert reports[CATEGORY][0].manifest.last_day == FIRST + 2 * DAY
        assert reports[CATEGORY][0].manifest.disclosed == 9
        assert await world.audit() == []

    async def test_two_at_once(self, world: World, root: Path) -> None:
        """The second is refused for now."""
        with closing_now(Outbox.hold(root, f"{TENANT}.export")), pytest.raises(BusyError, match="another export"):
            await world.installation.closing.close(TENANT, root, PEM)
        assert not world.installation.administration.find_tenant(TENANT).closed


async def test_a_clock_that_is_moved(world: World, root: Path) -> None:
    """A process whose wall clock is moved while it runs signs no export, even one already made."""
    exported = await world.installation.closing.close(TENANT, root, PEM)
    signature = exported.path.with_name(f"{exported.path.name}.p7s")
    before = signature.read_bytes()
    clock = MovedClock(world.clock.offset)
    async with world.another_process(clock) as other:
        clock.offset += timedelta(hours=1)
        with pytest.raises(OperatorError, match="the system clock was moved"):
            await other.closing.close(TENANT, root)
    assert signature.read_bytes() == before


async def test_what_cannot_be(world: World, root: Path, tmp_path: Path) -> None:
    """It is said before anything is changed."""
    closing = world.installation.closing
    (root / f"{TENANT}.export").mkdir()
    (root / f"{TENANT}.export" / "probe.part").mkdir()
    refused: list[tuple[tuple[str, Path, bytes | None], str]] = [
        (("castres", root, PEM), "there is no tenant castres"),
        ((RESERVED_TENANT, root, PEM), "there is no tenant _service"),
        ((TENANT, tmp_path / "nowhere", PEM), "nowhere: No such file or directory: --export-to names a directory"),
        ((TENANT, world.settings.trust_path, PEM), "Not a directory: --export-to names a directory"),
        ((TENANT, root, PEM), "probe.part: Is a directory: --export-to names a directory .* nothing was changed"),
        ((TENANT, root, None), "has registered no certificate: ask it for one"),
        ((TENANT, root, b"x"), "no certificate in PEM form"),
        ((TENANT, root, b"-----BEGIN PRIVATE KEY-----"), "holds a private key"),
        ((TENANT, root, der_to_pem([commune(end=START - DAY).certificate])), "ask the commune for a current one"),
    ]
    size = await world.size(category=JOURNAL_CATEGORY)
    for arguments, reason in refused:
        with pytest.raises(OperatorError, match=reason):
            await closing.close(*arguments)
    assert await world.size(category=JOURNAL_CATEGORY) == size
    assert not any(tenant.closed for tenant in world.service.snapshot.tenants())


async def test_without_an_export(world: World, root: Path) -> None:
    """It must be explicit, is recorded once, and is final: no request can be recorded any more."""
    closing = world.installation.closing
    await closing.close_without_export(TENANT)
    assert (await told(world))[-1] == ("tenant", TENANT, {"change": "closed", "export": "none"})
    with pytest.raises(OperatorError, match="closed without an export"):
        await closing.close(TENANT, root, PEM)
    await closing.close_without_export(TENANT)
    # One that was announced can be given up.
    await world.installation.administration.close_tenant(OTHER_TENANT, read_recipient_pem(PEM))
    for _ in range(2):
        await closing.close_without_export(OTHER_TENANT)
    await world.installation.administration.add_tenant("castres", "Castres")
    await closing.close("castres", root, PEM)
    with pytest.raises(OperatorError, match="castres was exported on 2026-03-04: nothing was changed"):
        await closing.close_without_export("castres")
    waived = [subject for _, subject, data in await told(world, RESERVED_TENANT) if data["change"] == "export waived"]
    assert waived == [OTHER_TENANT]


# One in three: before one step and after another.
@pytest.mark.parametrize("stride", [3, pytest.param(1, marks=pytest.mark.campaign)])
async def test_cut_short_anywhere(world: World, root: Path, stride: int) -> None:
    """Interrupted before or after any write, the same command run again makes a whole export."""
    cases = list(product(CLOSING_STEPS, (False, True)))[::stride]
    tenants = [f"t{number}" for number in range(len(cases))]
    for tenant in tenants:
        await world.installation.administration.add_tenant(tenant, tenant)
        await world.record(2, tenant=tenant)
    await world.installation.administration.credentials.add(role="client", tenant="t0", categories=[CATEGORY])
    for tenant, (step, happened) in zip(tenants, cases, strict=True):
        async with world.another_process() as other:
            with interrupted(other, step, happened=happened), pytest.raises(StopError):
                await other.closing.close(tenant, root, PEM)
        await world.service.snapshot.refresh()
        await world.installation.closing.close(tenant, root, PEM)
        reports = open_export(world, root, tenant=tenant)
        assert reports[CATEGORY][0].manifest.disclosed == 2
        ending = await world.service.store.read_ending(tenant)
        assert ending is not None
        assert ending.exported_at is not None
    await world.seal()
    assert await world.audit() == []

"""One kind, played: the harm, then everybody who might notice it is listened to."""

from __future__ import annotations

import asyncio
import io
import re
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from journal.audit.run import Audit
from journal.audit.watch import Watch, check_catalog, check_keys, check_restored
from journal.core.chain import leaf_hash
from journal.core.entry import RECORD_LIMIT_BYTES, RESERVED_TENANT
from journal.core.errors import JournalError, VerificationError
from journal.extract.container import Container
from journal.extract.known import read_known
from journal.extract.layout import ENTRIES, PROOF
from journal.extract.listing import parse_proof_line
from journal.extract.verify import verify_extract
from journal.pki.certificates import pem_to_der
from tests.campaign.world import ALBI, DAY, MAIN

if TYPE_CHECKING:
    from tests.campaign.scene import Scene
    from tests.campaign.table import Kind, Listed

AUDIT_SHARE, IDLE_SHARE = 1.0, 0.01
POLL_SECONDS = 1.5
READY_SECONDS = 62.0
AUDIT_SECONDS = 120.0
SOON_SECONDS = 6.0
OTHERS_SECONDS = 8.0
CONTROL_SECONDS = 25.0
EXTRACT_DAYS = 35
LONGEST_SENTENCE = 260
# Groups of kinds that leave the entries alone, and kinds whose clock or disk lets no service start.
WITHOUT_ENTRIES = "CKT"
WITHOUT_RESTART = {"T06", "T10"}


@dataclass(slots=True)
class Result:
    """What became of a kind."""

    id: str
    done: str
    expected: str
    notices: list[dict[str, Any]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    error: str | None = None


def expected_of(listed: Listed) -> set[str]:
    """Return who must notice, in the words of notices."""
    words = listed.noticed_by
    found = {"start", "ready", "audit", "store", "extract", "seal", "receipt"} & set(re.findall(r"\w+", words))
    if "refused" in words or "handed over again" in words:
        found.add("ready")
    return found


async def play(scene: Scene, kind: Kind, listed: Listed) -> Result:
    """Play a kind on a clone that was made for it; the service does not run yet."""
    result = Result(listed.id, listed.done, listed.noticed_by)
    # An audit of entries costs a processor: where nobody waits for it, the others are heard sooner.
    is_audited = listed.is_control or "audit" in expected_of(listed)
    scene.extra["audit_share"] = AUDIT_SHARE if is_audited else IDLE_SHARE
    try:
        if kind.before is not None:
            await kind.before(scene)
        await scene.start()
        await _remember(scene)
        scene.mark()
        act = asyncio.create_task(kind.act(scene))
        if not kind.lasting:
            await act
        if listed.is_control:
            await _listen(scene, set(), CONTROL_SECONDS)
            await _audit_at_once(scene)
        else:
            await _listen(scene, expected_of(listed), _patience(listed, kind))
        await act
        if kind.hand_over:
            await _hand_over(scene, result)
        await _ask(scene, result)
        await _read_alarms(scene)
        await _verify_store(scene, whole=listed.id[0] not in WITHOUT_ENTRIES)
        result.lost += await _lost(scene)
        if listed.id not in WITHOUT_RESTART:
            await _restart(scene)
    except Exception as error:  # noqa: BLE001  (the campaign goes on, and says so)
        result.error = f"{type(error).__name__}: {error}"[:600]
    result.notices = [asdict(notice) | {"said": notice.said[:LONGEST_SENTENCE]} for notice in scene.notices]
    result.refused = [*scene.refused, *result.refused]
    return result


def _patience(listed: Listed, kind: Kind) -> float:
    expected = expected_of(listed)
    if kind.hand_over:
        return SOON_SECONDS
    # The audit looks once a minute, and on a busy machine takes some seconds then.
    if "audit" in expected:
        return AUDIT_SECONDS
    return READY_SECONDS if "ready" in expected else SOON_SECONDS


async def _remember(scene: Scene) -> None:
    """Check that all is well, record something, and remember what the service obeys and what there is."""
    checks = await scene.service.checks.run()
    assert not any(checks.values()), f"not ready before: {checks}"
    assert await scene.post("before", 2) == 201
    await scene.service.sealer.seal_open(even_if_still=False)
    assert await scene.post("after", 3) == 201
    await scene.service.sealer.seal_open(even_if_still=False)
    assert await scene.post("unsealed", 3) == 201
    snapshot = scene.service.snapshot
    await snapshot.refresh(whole=True)
    scene.facts = await _facts(scene)
    scene.rows = {
        (row["tenant"], row["category"], row["index"]): row["digest"]
        for row in await scene.fetch(
            "SELECT tenant, category, index, sha256(leaf_hash || ciphertext) AS digest FROM journal.entry"
        )
    }
    scene.keys_before = {str(path.relative_to(scene.keys)) for path in (scene.keys / "days").rglob("*-*-*")}


async def _facts(scene: Scene) -> dict[tuple[str, str], Any]:
    """Return what the service obeys."""
    snapshot = scene.service.snapshot
    facts: dict[tuple[str, str], Any] = {}
    for tenant in snapshot.tenants():
        facts["tenant", tenant.code] = tenant
    for category in snapshot.categories():
        # A fence moves with purges; what it does is asked by purging.
        facts["category", category.code] = replace(category, fence=None)
    for credential in snapshot._credentials.values():
        facts["credential", credential.id] = credential
    for recipient in await scene.service.store.read_recipients():
        facts["recipient", recipient.tenant] = recipient
    return facts


async def _listen(scene: Scene, expected: set[str], seconds: float) -> None:
    """Ask for readiness until everybody expected has said something, or a while after the first, or time is up."""
    until = time.monotonic() + seconds
    wanted = expected & {"ready", "audit", "start"}
    while time.monotonic() < until and scene.running is not None:
        try:
            checks = await scene.service.checks.run()
        except Exception as error:  # noqa: BLE001  (a check that breaks says something too)
            checks = {"database": f"{type(error).__name__}: {error}"}
        for name, problem in checks.items():
            if problem is not None:
                scene.notice("audit" if name == "audit" else f"ready: {name}", problem)
        heard = {notice.who.partition(":")[0] for notice in scene.notices}
        if wanted and wanted <= heard:
            break
        if wanted & heard:  # the others may need longer; the store is verified anyway
            until = min(until, time.monotonic() + OTHERS_SECONDS)
            wanted = wanted - heard
        await asyncio.sleep(POLL_SECONDS)


async def _audit_at_once(scene: Scene) -> None:
    """Have the audit look at everything now."""
    watch = Watch(scene.service)
    await watch.look()
    await watch.pass_once()
    for alarm in scene.service.alarms.findings:
        scene.notice("audit", alarm.reason)


async def _hand_over(scene: Scene, result: Result) -> None:
    """Do what the hourly run does; what it removed or repeats is an entry, or a file."""
    assert scene.running is not None
    for handed in await scene.running.installation.handover.run():
        result.refused.append(f"handed over again: {handed.file.category} {handed.file.first_day}")
        scene.notice("hand-over", "the days are handed over again")


async def _read_alarms(scene: Scene) -> None:
    """Read the alarms that became entries."""
    if scene.running is None:
        return
    for tenant in (ALBI, RESERVED_TENANT):
        since = scene.today - DAY
        try:
            async for entry in scene.service.chronicle.entries(tenant, "alarm", since=since):
                scene.notice("alarm entry", str(entry.event["data"]))
        except (JournalError, OSError):
            continue  # what keeps it from being read is noticed elsewhere


async def _ask(scene: Scene, result: Result) -> None:
    """Ask for what callers ask: an event, a head, an extract, whatever the attacker would like to be obeyed."""
    if scene.running is None:
        result.refused.append("to start")
        return
    running, witness = scene.running, scene.witness
    if (status := await scene.post("asked")) != 201:
        result.refused.append(f"events of that chain: {status}")
    for name in ("forged", "revoked early", "revoked late"):
        if name in witness.tokens:
            status, _ = await running.get(witness.tokens[name], f"/v1/categories/{MAIN}/head")
            if name == "forged" and status == 401:
                result.refused.append("the forged credential: 401")
            elif status not in (401, 503):
                result.lost.append(f"OBEYED: credential {name}: {status}")
    await _purge(scene, result)
    try:
        for key, fact in (await _facts(scene)).items():
            is_new = key not in scene.facts and key[1] == "intrus"
            if is_new or scene.facts.get(key, fact) != fact:
                result.lost.append(f"OBEYED: {' '.join(key)}")
    except (JournalError, OSError) as error:
        result.refused.append(f"to read the facts: {error}"[:120])
    await _extract(scene, result)


async def _purge(scene: Scene, result: Result) -> None:
    """Purge all that the service holds to be due: nothing is."""
    assert scene.running is not None
    try:
        done = await scene.running.installation.purger.run(max_days=None)
    except (JournalError, OSError) as error:
        result.refused.append(f"the purge: {error}"[:120])
        return
    result.lost += [f"purged: {due.category} {due.day}" for due in done if due.day > scene.today - 14 * DAY]


async def _extract(scene: Scene, result: Result) -> None:
    """Ask for an extract as the commune does, and verify it as an auditor with known seals and receipts does."""
    assert scene.running is not None
    first = scene.today - timedelta(days=EXTRACT_DAYS)
    status, extract = await scene.running.extract(scene.witness.tokens["client"], MAIN, first, scene.today)
    if status != 200:
        result.refused.append(f"an extract: {status} {extract.decode(errors='replace')[:100]}")
        return
    anchors = pem_to_der(scene.service.settings.trust_path.read_bytes())
    known = [read_known(io.BytesIO(head), f"head-{number}") for number, head in enumerate(scene.witness.heads)]

    def verify(*, with_known: bool) -> str | None:
        try:
            verify_extract(io.BytesIO(extract), anchors=anchors, known=known if with_known else [])
        except VerificationError as error:
            return f"{error.verdict}: {error}"
        return None

    if problem := await asyncio.to_thread(verify, with_known=False):
        scene.notice("extract", problem)
        return
    if problem := await asyncio.to_thread(verify, with_known=True):
        scene.notice("seal", problem)
    if problem := await asyncio.to_thread(_compare_receipts, scene.witness.receipts, extract):
        scene.notice("receipt", problem)


def _compare_receipts(receipts: dict[int, str], extract: bytes) -> str | None:
    """Compare what the module was told with what the extract discloses."""
    container = Container(io.BytesIO(extract))
    records = container.lines(ENTRIES, limit_bytes=RECORD_LIMIT_BYTES)
    proof = [parse_proof_line(line.rstrip(b"\n")) for line in container.lines(PROOF, limit_bytes=RECORD_LIMIT_BYTES)]
    disclosed = [(index, salt) for index, is_disclosed, salt in proof if is_disclosed]
    found = {
        index: leaf_hash(salt, record.rstrip(b"\n")).hex()
        for (index, salt), record in zip(disclosed, records, strict=True)
    }
    wrong = [index for index, leaf in receipts.items() if found.get(index) != leaf]
    return f"{len(wrong)} of {len(receipts)} receipts are not confirmed" if wrong else None


async def _verify_store(scene: Scene, *, whole: bool) -> None:
    """Check everything as the command does; unless `whole`, all but the entries."""
    if scene.running is None:
        return
    service = scene.service
    try:
        findings = [*await check_catalog(service), *await check_restored(service), *await check_keys(service)]
        findings += await (Audit(service).run(lambda _: None) if whole else Audit(service).prepare())
    except (JournalError, OSError) as error:
        scene.notice("store", f"cannot check: {error}")
        return
    if findings:
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        scene.notice("store", f"{findings[0]}{more}")


async def _restart(scene: Scene) -> None:
    """Start the service once more, and ask it at once."""
    if scene.running is None:
        return
    await scene.stop()
    if not await scene.start():
        return
    for name, problem in (await scene.service.checks.run()).items():
        if problem is not None:
            scene.notice("ready after a start", f"{name}: {problem}")


async def _lost(scene: Scene) -> list[str]:
    """Return what of the entries is gone or altered, and which keys are."""
    found = {
        (row["tenant"], row["category"], row["index"]): row["digest"]
        for row in await scene.fetch(
            "SELECT tenant, category, index, sha256(leaf_hash || ciphertext) AS digest FROM journal.entry"
        )
    }
    gone = sum(key not in found for key in scene.rows)
    altered = sum(found.get(key, digest) != digest for key, digest in scene.rows.items())
    keys = {str(path.relative_to(scene.keys)) for path in (scene.keys / "days").rglob("*-*-*")}
    said = [f"{gone} rows gone"] if gone else []
    said += [f"{altered} rows altered"] if altered else []
    missing = len(scene.keys_before - keys)
    return said + ([f"{missing} day keys gone"] if missing else [])

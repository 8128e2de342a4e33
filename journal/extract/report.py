"""The report on a verified extract, in sentences: what was checked, and what could not be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from journal.core.entry import JOURNAL_CATEGORY, parse_origin
from journal.core.times import day_of, format_day, format_seconds, format_time
from journal.extract.identities import NAMED, Repeated, describe
from journal.extract.layout import DOCUMENT
from journal.extract.listed_seal import CheckedSeal, seal_text
from journal.extract.manifest import Filter
from journal.extract.purge_texts import instruction_texts, late_texts, not_shown_texts, purged_json, purged_texts
from journal.extract.purges import LATE
from journal.pki.timestamp import time_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from journal.extract.history import History, Purged
    from journal.extract.known import Comparison
    from journal.extract.manifest import Manifest
    from journal.extract.receipt_verdicts import Judged
    from journal.pki.cms import Signature
    from journal.pki.timestamp import Timestamp


# The verdict of a report; a failure has its class in this place.
VERIFIED = "verified"


@dataclass(frozen=True)
class Report:
    """What verification established of an extract. Every field but the sentences is data for further use.

    `signed_at` in `signature` is the time the signer claims. `covered_until` is set where the period ends
    on the day of the extract: the proof ends there. `warnings` say what takes the worth from everything else;
    `remarks` are past failings and changes worth knowing; `unanswered` is what the auditor asked for and could not be
    checked.
    """

    verdict: str
    manifest: Manifest
    signature: Signature
    seals: tuple[CheckedSeal, ...]
    covered_until: datetime | None
    purged: Purged | None
    warnings: tuple[str, ...]
    checked: tuple[str, ...]
    remarks: tuple[str, ...]
    not_checked: tuple[str, ...]
    unanswered: tuple[str, ...]
    receipts: tuple[Judged, ...] = ()
    repeated: tuple[Repeated, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the report as a JSON object; members that do not apply are left out."""
        manifest = self.manifest
        result: dict[str, Any] = {
            "verdict": VERIFIED,
            "sentence": self.verdict,
            "origin": manifest.origin,
            "from": format_day(manifest.first_day),
            "to": format_day(manifest.last_day),
            "base_size": manifest.base.size,
            "head_size": manifest.head.size,
            "disclosed": manifest.disclosed,
            "withheld": manifest.withheld,
            "filter": manifest.filter.as_json(),
            "purpose": manifest.purpose,
            "requester": manifest.requester,
            "rule": manifest.rule.as_json(),
            "issued_at": format_time(manifest.issued_at),
            "signature": _signature_json(self.signature),
            "seals": [_seal_json(checked) for checked in self.seals],
            "warnings": list(self.warnings),
            "checked": list(self.checked),
            "remarks": list(self.remarks),
            "not_checked": list(self.not_checked),
            "unanswered": list(self.unanswered),
        }
        if self.receipts:
            result["receipts"] = [judged.as_json() for judged in self.receipts]
        if self.repeated:
            result["repeated"] = [one.as_json() for one in self.repeated[:NAMED]]
        if manifest.authorisation is not None:
            result["authorisation"] = manifest.authorisation.as_json()
        if manifest.person is not None:
            result["person"] = manifest.person.as_json()
        if self.covered_until is not None:
            result["covered_until"] = format_seconds(self.covered_until)
        if self.purged is not None:
            result["purged"] = {
                "through": format_day(self.purged.through),
                "before_index": self.purged.before_index,
                "days": [purged_json(days) for days in self.purged.days],
            }
        return result


def _signature_json(signature: Signature) -> dict[str, Any]:
    anchor, seal = signature.anchor, signature.organisation
    result: dict[str, Any] = {
        "subject": signature.subject,
        "issuer": signature.issuer,
        "serial": f"{signature.serial:x}",
        "claimed_at": format_seconds(signature.signing_time),
        "trust": {"subject": anchor.subject, "sha256": anchor.sha256.hex(), "development": anchor.is_development},
    }
    if seal is not None:
        result["organisation"] = seal.name
        if seal.identifier:
            result["organisation_identifier"] = seal.identifier
    return result


def _seal_json(checked: CheckedSeal) -> dict[str, Any]:
    seal = checked.seal
    kind = "open" if seal.day is None else format_day(seal.day)
    result = {"number": seal.number, "day": kind, "sealed_at": format_seconds(seal.sealed_at)}
    if checked.timestamp is not None:
        result["timestamp"] = {
            "stamped_at": time_text(checked.timestamp.stamped_at),
            "authority": checked.timestamp.authority,
        }
    return result


def write_report(
    *,
    manifest: Manifest,
    signature: Signature,
    names: tuple[str, ...],
    seals: tuple[CheckedSeal, ...],
    history: History,
    comparison: Comparison,
    receipts: tuple[Judged, ...],
    repeated: Sequence[Repeated] = (),
) -> Report:
    """Return the report of a verification in which every check passed."""
    today = manifest.last_day == history.last.day
    return Report(
        verdict=_verdict(manifest, seals, history),
        manifest=manifest,
        signature=signature,
        seals=seals,
        covered_until=history.last.seal.sealed_at if today else None,
        purged=history.purged,
        warnings=tuple(_warnings(signature)),
        checked=tuple(_checked(manifest, signature, seals, history, comparison)),
        remarks=(
            *_remarks(manifest, seals, history),
            *_lateness(manifest),
            *([describe(list(repeated))] if repeated else []),
        ),
        not_checked=tuple(_not_checked(manifest, signature, names, seals, history=history, comparison=comparison)),
        unanswered=comparison.unanswered,
        receipts=receipts,
        repeated=tuple(repeated),
    )


def _verdict(manifest: Manifest, seals: tuple[CheckedSeal, ...], history: History) -> str:
    period = f"{format_day(manifest.first_day)} to {format_day(manifest.last_day)} (whole days, UTC)"
    if manifest.filter == Filter():
        verdict = f"authentic and complete: all {manifest.disclosed} entries of {period} that are still kept"
        if history.purged is None:
            verdict = f"authentic and complete: all {manifest.disclosed} entries of {period}"
    else:
        verdict = (
            f"authentic: {manifest.disclosed} entries of {period} disclosed, {manifest.withheld} withheld, none missing"
        )
    if manifest.last_day == history.last.day:
        verdict += f", up to {format_seconds(history.last.seal.sealed_at)}"
    if history.purged is not None and history.purged.of(LATE):
        verdict += "; days of it were purged late"
    for checked, timestamp in _stamped(seals)[-1:]:
        verdict += f"; what {seal_text(checked)} covers could not be rewritten after {_moment_text(timestamp)}"
    return verdict


def _checked(
    manifest: Manifest,
    signature: Signature,
    seals: tuple[CheckedSeal, ...],
    history: History,
    comparison: Comparison,
) -> list[str]:
    first, last = seals[0], seals[-1]
    anchor = signature.anchor
    sentences = [
        f"The parts are whole and signed by {signature.subject}, certified by {signature.issuer}.",
        f"The certificate leads to one that you trust: {anchor.subject}, SHA-256 {anchor.sha256.hex()}.",
        f"{len(seals)} seals, from {seal_text(first)} to {seal_text(last)}, are signed and belong to one history.",
        _range_text(manifest),
        "The chain passes through its head in each of these seals.",
        (
            f"No day was purged before its time, and none is kept past it: the retention is "
            f"{history.last.head.retention_days} days by the last seal."
        ),
        "The table matches the entries disclosed.",
    ]
    sentences += _checked_timestamps(seals)
    if history.purged is not None:
        sentences += purged_texts(history.purged, manifest.rule.basis)
    if manifest.filter != Filter() and manifest.disclosed:
        sentences.append("Every entry disclosed matches the filter.")
    sentences += [
        f"{checked.name} agrees: the first {checked.head.size} entries of the chain are the same as then."
        for checked in comparison.latest
    ]
    return sentences


def _range_text(manifest: Manifest) -> str:
    base, head = manifest.base.size, manifest.head.size
    if base == head:
        return f"The period holds no entry: the chain has size {head} before and after it."
    return f"Every index from {base} to {head - 1} is present once, in its chain, on its day."


def _remarks(manifest: Manifest, seals: tuple[CheckedSeal, ...], history: History) -> list[str]:
    sentences = late_texts(history.purged)
    if not sentences:
        sentences = [f"A purge was late, and has been done since: {text}." for text in history.late_purges]
    sentences += [
        f"{seal_text(checked)} declares a disaster: what followed seal {checked.seal.recovered_from} is lost."
        for checked in seals
        if checked.seal.recovered_from is not None
    ]
    return [*sentences, *_rule_texts(seals), *instruction_texts(manifest.rule, seals), *_timestamp_remarks(seals)]


def _lateness(manifest: Manifest) -> list[str]:
    """Say what days of recording and days of accesses are to each other."""
    here, elsewhere = manifest.lateness.here, manifest.lateness.elsewhere
    sentences = []
    if here:
        sentences.append(
            f"{here} entries of the period are of accesses on other days: its days are those of recording."
        )
    if elsewhere:
        sentences.append(
            f"{elsewhere} entries of accesses on these days were recorded on other days, and are not in this extract; "
            "an extract of those days holds them, by the filter occurred_from and occurred_to."
        )
    sentences += [one.describe() for one in manifest.numbering]
    return sentences


def _rule_texts(seals: tuple[CheckedSeal, ...]) -> list[str]:
    """Say where the retention changes; a run of increases is one sentence."""
    changes = [
        (before.head.retention_days, after)
        for before, after in zip(seals, seals[1:])
        if before.head.retention_days != after.head.retention_days
    ]
    sentences = []
    while changes:
        earlier, first = changes.pop(0)
        last = first
        while changes and earlier < last.head.retention_days < changes[0][1].head.retention_days:
            _, last = changes.pop(0)
        later = last.head.retention_days
        if first is last:
            sentences.append(f"From {seal_text(first)} on, entries are kept {later} days; before, {earlier}.")
        else:
            span = f"From {seal_text(first)} to {seal_text(last)}"
            sentences.append(f"{span}, the retention grows from {earlier} to {later} days.")
    return sentences


def _warnings(signature: Signature) -> list[str]:
    if not signature.anchor.is_development:
        return []
    told = "the certificate you trust is of a development authority, which the service made for itself"
    return [f"FOR TRIALS ONLY: {told}. Nobody else vouches for who signed."]


def _not_checked(
    manifest: Manifest,
    signature: Signature,
    names: tuple[str, ...],
    seals: tuple[CheckedSeal, ...],
    *,
    history: History,
    comparison: Comparison,
) -> list[str]:
    issued = format_day(day_of(manifest.issued_at))
    sentences = [_rewriting_text(manifest, seals, comparison)]
    sentences += _unchecked_timestamps(seals)
    if not (signature.names_service or signature.is_expected):
        sentences.append(
            f"That {signature.organisation} runs {parse_origin(manifest.origin).service}: its seal names no service, "
            "and you gave no certificate that says whose seal to expect. Compare it with what you know."
        )
    sentences.append("Signing times are the signer's own claim; certificates were not checked for revocation.")
    if manifest.withheld:
        sentences.append("The content of the withheld entries, and that none of them matches the filter.")
    if history.purged is not None:
        sentences += ["The content of the purged entries.", *not_shown_texts(history.purged)]
    if manifest.last_day == history.last.day:
        sentences.append(f"What was recorded on {issued} after {format_seconds(history.last.seal.sealed_at)}.")
    last = manifest.last_day + timedelta(days=manifest.lateness.days)
    sentences.append(
        "How many entries of accesses on these days were recorded on other days is the service's word; up to "
        f"{format_day(last)}, {manifest.lateness.days} days late, more could be, or can."
    )
    if not _holds_request(manifest):
        sentences.append(
            f"The request: who asked ({manifest.requester}), why ({manifest.purpose}), and its entry "
            f"{manifest.request.index} in the category {JOURNAL_CATEGORY}, are stated by the service."
        )
    if DOCUMENT in names:
        sentences.append(f"{DOCUMENT} is signed, but was not compared with the entries.")
    sentences.append("That the modules submitted an event for every access: the journal holds only what it was sent.")
    return sentences


def _holds_request(manifest: Manifest) -> bool:
    """Tell whether the entry that recorded the request is in this extract's range."""
    category = parse_origin(manifest.origin).category
    return category == JOURNAL_CATEGORY and manifest.base.size <= manifest.request.index < manifest.head.size


def _rewriting_text(manifest: Manifest, seals: tuple[CheckedSeal, ...], comparison: Comparison) -> str:
    for checked, timestamp in _stamped(seals)[-1:]:
        end = max([checked.head.size, *(known.head.size for known in comparison.latest)])
        return (
            f"Until {_moment_text(timestamp)} the service could rewrite what {seal_text(checked)} covers and "
            f"no earlier time-stamp or known seal does; entries from index {end} on, until it issued this extract."
        )
    if not comparison.latest:
        return (
            "No outside witness was given: the service, which holds the signing key, could have rewritten "
            f"everything before it issued this extract on {format_day(day_of(manifest.issued_at))}. Keep it, or "
            "the answer of GET …/head, as a known seal for the next one."
        )
    latest = max(comparison.latest, key=lambda checked: checked.head.size)
    return (
        f"Since you received {latest.name}, which says it was made {format_seconds(latest.seal.sealed_at)}, the "
        f"service could not rewrite what that seal covers; entries from index {latest.head.size} on it could, until it "
        "issued this extract."
    )


# A time-stamp later than its seal by more than this is reported.
PROMPT = timedelta(days=1)


def _stamped(seals: Sequence[CheckedSeal]) -> list[tuple[CheckedSeal, Timestamp]]:
    """Return the seals whose time-stamp was verified, with it, in their order."""
    return [(checked, checked.timestamp) for checked in seals if checked.timestamp is not None]


def _moment_text(timestamp: Timestamp) -> str:
    """Return the time an authority attests, with its accuracy, for people."""
    seconds = timestamp.accuracy.total_seconds() if timestamp.accuracy else 0
    return f"{time_text(timestamp.stamped_at)}{f' (± {seconds:g} s)' if seconds else ''}"


def _checked_timestamps(seals: Sequence[CheckedSeal]) -> list[str]:
    """Say how many seals each authority attests, and when it attested the first and the last."""
    by_authority: dict[str, list[str]] = {}
    for checked, timestamp in _stamped(seals):
        text = f"{seal_text(checked)} at {_moment_text(timestamp)}"
        by_authority.setdefault(timestamp.authority, []).append(text)
    sentences = []
    for authority, texts in by_authority.items():
        ends = " to ".join(dict.fromkeys((texts[0], texts[-1])))
        sentences.append(
            f"{authority} attests {len(texts)} of the seals by time-stamps, checked at their own times: {ends}."
        )
    return sentences


def _timestamp_remarks(seals: Sequence[CheckedSeal]) -> list[str]:
    """Say which time-stamps were late, and whether one names its certificate by SHA-1."""
    found = _stamped(seals)
    sentences = [
        f"{seal_text(checked)} was not time-stamped before {_moment_text(timestamp)}: until then it could be rewritten."
        for checked, timestamp in found
        if timestamp.stamped_at - checked.seal.sealed_at > PROMPT
    ]
    if any(timestamp.by_sha1_alone for _, timestamp in found):
        sentences.append(
            "Time-stamps name their certificate by SHA-1 alone; its path, which uses no SHA-1, was checked."
        )
    return sentences


def _unchecked_timestamps(seals: Sequence[CheckedSeal]) -> list[str]:
    """Say which time-stamps were not checked, and which close seals bear none where others do."""
    sentences = []
    unchecked = sum(checked.timestamped and checked.timestamp is None for checked in seals)
    if unchecked:
        sentences.append(f"{unchecked} seals bear a time-stamp that was not checked: no certificate for it was given.")
    without = [one for one in seals if one.seal.day is not None and not one.timestamped]
    if without and _stamped(seals):
        sentences.append(f"{len(without)} close seals bear no time-stamp, the latest being {seal_text(without[-1])}.")
    return sentences

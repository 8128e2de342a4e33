"""What the attestation of a destruction says, as plain data: words and figures, no layout and no markup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from journal.core.times import format_day
from journal.document import certificate_texts as texts
from journal.document.french import (
    french_number,
    french_range,
    printable,
    solid,
    solid_day,
    solid_duration,
    solid_entries,
    solid_moment,
    solid_weekday,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from journal.document.destruction import CategoryFacts, Certificate, NamedSeal

REGIMES = {"LED": "directive (UE) 2016/680", "GDPR": "RGPD"}


def certificate_content(certificate: Certificate) -> dict[str, Any]:
    """Return everything the template shows, in French; equal certificates give equal content."""
    gone = certificate.of_state("destroyed", "untold")
    return {
        "title": "Attestation de destruction",
        "subtitle": f"Journal des accès, entrées du {solid_weekday(certificate.day)}",
        "service": certificate.service,
        "reference": solid(f"réf. {certificate.tenant} / {format_day(certificate.day)}"),
        "tenant_name": texts.tenant_name(certificate),
        "lead": texts.lead(certificate),
        "columns": ["Catégorie", "Entrées détruites", "Conservation et terme, à 0 h", "Destruction"],
        "gone": [_gone(facts) for facts in gone],
        "kept_title": "Encore conservées, hors de cette attestation",
        "kept": [_kept(facts, certificate.issued_at) for facts in certificate.of_state("kept")],
        "notes": texts.notes(gone),
        "seal_columns": ["Sceau", "Ce qu’il montre", "Fait le (temps universel)", "SHA-256 de son texte"],
        "seals": _seals(certificate.closing, gone),
        "how": texts.how(certificate),
        "steps": texts.steps(certificate, gone),
        "law": texts.law(certificate.categories),
        "signature": [
            ["Établie le", f"{solid_moment(certificate.issued_at)} (temps universel)"],
            ["Signée par", printable(certificate.signer)],
            ["Certificat", f"valable jusqu’au {solid_day(certificate.signer_until.date())}"],
            ["Son SHA-256", certificate.signer_sha256.hex()],
        ],
        "software": certificate.software,
    }


def _category(facts: CategoryFacts) -> dict[str, Any]:
    """Return what stands in any category's row: its name and its rule."""
    days = f"{facts.retention_days} jours"
    if facts.retention_days_before != facts.retention_days:
        days = f"{days} ({facts.retention_days_before} auparavant)"
    return {
        "label": texts.label(facts),
        "rule": f"{solid(days)} · {solid(REGIMES[facts.regime])}",
        "window": f"dès le {solid_day(facts.may_go_at.date())}, avant le {solid_day(facts.must_go_at.date())}",
        "range": "",
        "verdict": "",
        "closing": [],
        "alarm": False,
    }


def _gone(facts: CategoryFacts) -> dict[str, Any]:
    """Return the row of what was destroyed, with the head of its chain at the close of the day where it is known."""
    row = _category(facts)
    if facts.closing is not None:
        size = solid_entries(facts.closing.size)
        row["closing"] = [f"Chaîne à la clôture du jour : {size}, empreinte", facts.closing.chain_hash.hex()]
    if facts.state == "untold":
        return row | {"count": "non établi", "when": "détruites"}
    if facts.count == 0:
        return row | {"count": "aucune entrée", "when": "sans objet"}
    when, verdict, alarm = _when(facts)
    indexes = solid(french_range(facts.first_index, facts.end_index - 1))
    count = french_number(facts.count)
    return row | {"count": count, "range": indexes, "when": when, "verdict": verdict, "alarm": alarm}


def _when(facts: CategoryFacts) -> tuple[str, str, bool]:
    """Return when a category's entries went, how that stands to the rule, and whether it is to be marked."""
    seal = "sceau non conservé" if facts.shown is None else f"sceau n° {french_number(facts.shown.number)}"
    if facts.gone_at is None:
        return "date non établie", solid(seal), False
    if not facts.recorded:
        in_time = "dans le délai ; " if facts.gone_at < facts.must_go_at else ""
        return f"au plus tard le {solid_moment(facts.gone_at)}", solid(in_time + seal), False
    if facts.gone_at < facts.may_go_at:
        return solid_moment(facts.gone_at), f"plus tôt que la règle le permet ; {solid(seal)}", True
    if facts.lateness:
        return solid_moment(facts.gone_at), f"retard : {solid_duration(facts.lateness)} ; {solid(seal)}", True
    return solid_moment(facts.gone_at), solid(f"dans le délai ; {seal}"), False


def _kept(facts: CategoryFacts, now: datetime) -> dict[str, Any]:
    """Return the row of what is not attested; a term that has passed is marked."""
    overdue = now >= facts.must_go_at
    when = f"due, terme dépassé de {solid_duration(now - facts.must_go_at)}" if overdue else "pas encore faite"
    return _category(facts) | {"count": "conservées", "when": when, "alarm": overdue}


def _seals(closing: NamedSeal, gone: Sequence[CategoryFacts]) -> list[list[str]]:
    """Return a row for each seal: the day's close seal, then those that show what went, each once."""
    shown = {facts.shown.number: facts.shown for facts in gone if facts.shown is not None}
    rows = [(closing, "entrées présentes" if shown else "jour clos")]
    rows += [(shown[number], "entrées détruites") for number in sorted(shown)]
    return [
        [solid(f"n° {french_number(seal.number)}"), what, solid_moment(seal.sealed_at), seal.digest.hex()]
        for seal, what in rows
    ]

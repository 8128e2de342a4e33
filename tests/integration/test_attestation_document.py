"""The attestation as a page: one, whole, in good French, signed, with nothing hidden; read back by Debian's tools."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journal.core.chain import Head
from journal.document.attestation import attestation_content
from journal.document.attested import Attestation, CategoryFacts, NamedSeal
from journal.document.render import ATTESTATION, EXTRACT, DocumentError, render
from journal.pki.trust import Anchor
from journal.seals.dev_authority import make_development_authority
from retention.policy import goes_at
from tests.support.pdf import base_revision, check_signature, words_of
from tests.support.signing import local_signer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.signing import LocalSigner

pytestmark = pytest.mark.needs("pdftotext", "pdfsig", "pdfinfo")

SERVICE = "journal.test"
DAY = date(2026, 3, 2)
AT = datetime(2026, 5, 1, 9, 41, 52, tzinfo=UTC)
HOSTILE = "\u202e#let x = 1 $a$ <b> \u0007 😀 «é» https://example.org " + "X" * 200


@pytest.fixture
def signer(tmp_path: Path) -> LocalSigner:
    """A signer under a root of its own."""
    make_development_authority(tmp_path, SERVICE, AT - timedelta(days=90))
    return local_signer(tmp_path)


def make_seal(number: int, sealed_at: datetime, day: date | None = None) -> NamedSeal:
    """A seal by its name."""
    return NamedSeal(number=number, day=day, sealed_at=sealed_at, digest=sha256(b"%d" % number).digest())


def make_facts(label: str, first: int, end: int, *, retention_days: int = 60, **changed: Any) -> CategoryFacts:
    """What went of a category, an hour after it could."""
    may_go_at = goes_at(DAY, retention_days - 1)
    gone_at = may_go_at + timedelta(hours=1, minutes=2, seconds=7)
    values = {
        "code": "x",
        "label": label,
        "regime": "LED",
        "retention_days": retention_days,
        "retention_days_before": retention_days,
        "may_go_at": may_go_at,
        "must_go_at": may_go_at + timedelta(days=1),
        "state": "destroyed",
        "first_index": first,
        "end_index": end,
        "gone_at": gone_at if end > first else None,
        "recorded": end > first,
        "closing": Head(end, sha256(label.encode()).digest()),
        "shown": make_seal(86_000 + retention_days, gone_at + timedelta(seconds=1)) if end > first else None,
    }
    return CategoryFacts(**values | changed)


def make_attestation(*categories: CategoryFacts, **changed: Any) -> Attestation:
    """An attestation of these categories."""
    values = {
        "service": SERVICE,
        "tenant": "albi",
        "tenant_name": "Ville d’Albi",
        "day": DAY,
        "categories": categories,
        "closing": make_seal(1443, goes_at(DAY, 1) + timedelta(seconds=5), DAY),
        "key_copies": 2,
        "issued_at": AT,
        "signer": "CN=journal.test",
        "signer_sha256": sha256(b"certificate").digest(),
        "signer_until": datetime(2028, 3, 1, tzinfo=UTC),
        "anchor": Anchor("CN=Racine", b"\4" * 32, is_development=False),
        "software": "openepm-journal/0",
    }
    return Attestation(**values | changed)


NORMAL = make_attestation(
    make_facts("Main courante", 18_233, 19_467),
    make_facts("Procès-verbaux et rapports", 4_021, 4_022),
    make_facts("Assistance", 17, 17),
)


async def make(attestation: Attestation, signer: LocalSigner) -> bytes:
    """Return the document."""
    return await render(attestation_content(attestation), signer, attestation.issued_at, ATTESTATION)


def pages(document: bytes, path: Path) -> int:
    """How many pages it has."""
    path.write_bytes(document)
    done = subprocess.run([str(shutil.which("pdfinfo")), path], capture_output=True, check=True, text=True)
    return int(re.findall(r"Pages:\s+(\d+)", done.stdout)[0])


async def test_every_figure_is_on_the_page(signer: LocalSigner, tmp_path: Path) -> None:
    """Counts, indexes, rule, terms, moment, seals and hashes are all there, on one page, and its languages' signs."""
    document = await make(NORMAL, signer)
    assert pages(document, tmp_path / "a.pdf") == 1
    text = words_of(document, tmp_path / "a.pdf")
    for said in (
        "VILLE D’ALBI",
        "entrées du lundi 2 mars 2026",
        "les 1 235 entrées inscrites le lundi 2 mars 2026 au journal des accès de la commune « Ville d’Albi » ont été",
        "au terme de leur conservation, dans le délai prescrit",
        "18 233 à 19 466",
        "4 021",
        "aucune entrée",
        "60 jours",
        "dès le 30 avril 2026, avant le 1er mai 2026",
        "30 avril 2026 à 1 h 02 min 07 s",
        "dans le délai ; sceau n° 86 060",
        "19 467 entrées, empreinte " + sha256(b"Main courante").hexdigest(),
        "3 mars 2026 à 0 h 00 min 05 s",
        sha256(b"1443").hexdigest(),
        sha256(b"86060").hexdigest(),
        "les 2 copies du magasin de clés",
        "le service en remet le texte",
        "un premier numéro conservé supérieur au dernier numéro détruit",
        "loi n° 78-17 du 6 janvier 1978, article 101",
        "directive (UE) 2016/680 du 27 avril 2016, article 25",
        "1er mai 2026 à 9 h 41 min 52 s",
        "CN=journal.test",
        sha256(b"certificate").hexdigest(),
        "CN=Racine",
        "04" * 32,
    ):
        assert said in text, said
    assert "essais" not in text
    assert "règlement (UE) 2016/679" not in text


LATE = make_facts("Main courante", 0, 9, gone_at=goes_at(DAY, 62) + timedelta(hours=3))
KEPT = make_facts("Écrits", 0, 0, state="kept", gone_at=None, closing=None)


@pytest.mark.parametrize(
    ("attestation", "said"),
    [
        pytest.param(
            make_attestation(make_facts("A", 7, 7), make_facts("B", 0, 0), key_copies=1),
            ["ne comptait aucune entrée le lundi 2 mars 2026. Ce jour est clos", "jour clos", "le magasin de clés ;"],
            id="empty",
        ),
        pytest.param(
            make_attestation(make_facts("A", 7, 8)),
            ["l’unique entrée inscrite le lundi 2 mars 2026 au journal", "a été détruite au terme"],
            id="one",
        ),
        pytest.param(
            make_attestation(LATE),
            ["avec le retard indiqué ci-dessous", "retard : 2 jours et 3 h ; sceau"],
            id="late",
        ),
        pytest.param(
            make_attestation(make_facts("A", 0, 10), LATE),
            [f"ont été détruites au terme de leur conservation, dont {LATE.count} avec le retard indiqué ci-dessous"],
            id="partly late",
        ),
        pytest.param(
            make_attestation(LATE, anchor=Anchor("CN=x", bytes(32), is_development=True)),
            ["Pour essais seulement", "d’une autorité de développement"],
            id="for trials",
        ),
        pytest.param(
            make_attestation(
                make_facts("Fourrière", 0, 3, retention_days=30, regime="GDPR"), KEPT, issued_at=goes_at(DAY, 40)
            ),
            [
                "dans la catégorie « Fourrière » au journal",
                "La catégorie « Écrits » est encore conservée : cette attestation ne porte pas sur elle.",
                "Encore conservées, hors de cette attestation",
                "pas encore faite",
                "règlement (UE) 2016/679 du 27 avril 2016, article 5",
            ],
            id="partial",
        ),
        pytest.param(
            make_attestation(make_facts("A", 0, 3), KEPT, replace(KEPT, code="y"), issued_at=goes_at(DAY, 61)),
            ["Les 2 autres catégories sont encore conservées", "due, terme dépassé de 1 jour"],
            id="overdue beside",
        ),
        pytest.param(
            make_attestation(
                make_facts("A", 0, 3, closing=None), make_facts("B", 0, 0, closing=None, state="untold"), KEPT, KEPT
            ),
            ["dans la catégorie « A » au", "non établi", "Non établi : ces entrées", "empreinte de la chaîne à la"],
            id="what is no longer told",
        ),
        pytest.param(
            make_attestation(make_facts("A", 0, 3, recorded=False)),
            ["au plus tard le 30 avril 2026", "à 1 h 02 min 07 s", "dans le délai ; sceau"],
            id="without its entry",
        ),
        pytest.param(
            make_attestation(make_facts("A", 0, 3, recorded=False, gone_at=AT), make_facts("B", 0, 2)),
            [
                "les 5 entrées inscrites",
                "détruites à la date indiquée ci-dessous, dans la mesure où elle est établie. Le service n’en garde",
                "au plus tard le 1er mai",
            ],
            id="perhaps late",
        ),
        pytest.param(
            make_attestation(make_facts("A", 0, 3, recorded=False, gone_at=None, shown=None)),
            ["date non établie", "sceau non conservé"],
            id="neither entry nor seal",
        ),
        pytest.param(
            make_attestation(make_facts("A", 0, 3, gone_at=goes_at(DAY, 20))),
            ["plus tôt que la règle le permet", "détruites à la date indiquée ci-dessous"],
            id="early",
        ),
        pytest.param(
            make_attestation(make_facts("A", 0, 3, retention_days=30, retention_days_before=60)),
            ["30 jours (60 auparavant)"],
            id="a rule changed",
        ),
    ],
)
async def test_every_case_has_its_words(
    signer: LocalSigner, tmp_path: Path, attestation: Attestation, said: list[str]
) -> None:
    """Empty, single, late, partial, old: each is worded correctly, on one page."""
    document = await make(attestation, signer)
    text = words_of(document, tmp_path / "a.pdf")
    for part in said:
        assert part in text, part
    assert pages(document, tmp_path / "a.pdf") == 1


async def test_a_crowd_of_hostile_names_fits_one_page(signer: LocalSigner, tmp_path: Path) -> None:
    """Twelve categories of endless names, each with a rule and a seal of its own, take one page; nothing hides."""
    crowd = [make_facts(f"{number}{HOSTILE}", number, 99_000_000, retention_days=60 - number) for number in range(12)]
    attestation = make_attestation(*crowd, tenant_name=HOSTILE, tenant="c" * 63, signer="CN=" + "s" * 300)
    document = await make(attestation, signer)
    assert pages(document, tmp_path / "a.pdf") == 1
    text = words_of(document, tmp_path / "a.pdf")
    for number in range(12):
        assert sha256(f"{number}{HOSTILE}".encode()).hexdigest() in text
        assert sha256(b"%d" % (86_060 - number)).hexdigest() in text
    for shown in ("⟦U+202E⟧", "#let x = 1 $a$ <b>", "⟦U+0007⟧", "⟦U+1F600⟧"):
        assert shown in text, shown
    for name in (b"/JavaScript", b"/JS", b"/URI", b"/Launch", b"/EmbeddedFile", b"/OpenAction"):
        assert name not in document


async def test_more_than_a_page_holds_goes_on(signer: LocalSigner, tmp_path: Path) -> None:
    """Nothing is left out of an attestation of forty categories: it takes more pages."""
    crowd = [make_facts(f"Catégorie {number}", 0, 5, retention_days=60 - number) for number in range(40)]
    document = await make(make_attestation(*crowd), signer)
    text = words_of(document, tmp_path / "a.pdf")
    assert all(sha256(f"Catégorie {number}".encode()).hexdigest() in text for number in range(40))
    assert pages(document, tmp_path / "a.pdf") > 1


async def test_the_signature_is_accepted(signer: LocalSigner, tmp_path: Path) -> None:
    """Poppler finds it valid and total; pyHanko, with the root alone, trusts it; a changed digit breaks it."""
    document = await make(NORMAL, signer)
    path = tmp_path / "a.pdf"
    path.write_bytes(document)
    answer = subprocess.run([str(shutil.which("pdfsig")), path], capture_output=True, check=False, text=True).stdout
    assert "Signature is Valid" in answer
    assert "Total document signed" in answer
    assert "ETSI.CAdES.detached" in answer
    signature = await check_signature(document, (tmp_path / "trust.pem").read_bytes(), AT)
    assert signature.sig_object["/Reason"] == ATTESTATION.reason
    changed = bytearray(document)
    changed[len(changed) // 4] ^= 1
    path.write_bytes(changed)
    answer = subprocess.run([str(shutil.which("pdfsig")), path], capture_output=True, check=False, text=True).stdout
    assert "Signature is Valid" not in answer


async def test_equal_facts_give_equal_bytes(signer: LocalSigner) -> None:
    """At one clock, two attestations differ in their signatures alone."""
    first, second = await make(NORMAL, signer), await make(NORMAL, signer)
    assert base_revision(first) == base_revision(second)
    signature = re.compile(rb"/Contents <[0-9a-fA-F]+>")
    assert signature.sub(b"", first) == signature.sub(b"", second)
    assert len(signature.findall(first)) == 1


async def test_another_template_wants_other_content(signer: LocalSigner) -> None:
    """Content of one template is refused by the other."""
    with pytest.raises(DocumentError):
        await render(attestation_content(NORMAL), signer, AT, EXTRACT)


@given(text=st.text(max_size=300))
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_name_breaks_the_page(signer: LocalSigner, tmp_path: Path, text: str) -> None:
    """Any name whatever, of a commune or a category, gives one page."""
    document = await make(make_attestation(make_facts(text, 0, 5), tenant_name=text), signer)
    assert pages(document, tmp_path / "a.pdf") == 1

"""Slips and the destruction report as pages: French, tagged, signed over what they show; read back by other tools."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from journal.core.canonical import encode
from journal.document.render import DESTRUCTION, EXPORT_SLIP, HANDOVER_SLIP, PRESERVATION_SLIP, render
from journal.document.signatory import Signatory
from journal.document.slips import (
    Paper,
    destruction_content,
    export_content,
    handover_content,
    preservation_content,
    remark_of_gone,
    remark_of_request,
    remark_of_term,
)
from journal.pki.trust import Anchor
from journal.seals.dev_authority import make_development_authority
from tests.support.contents import without_zone
from tests.support.pdf import check_signature, read_text
from tests.support.signing import local_signer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from journal.document.render import Template
    from tests.support.signing import LocalSigner

pytestmark = pytest.mark.needs("pdftotext", "pdfsig", "pdfinfo", "pdftoppm")

SERVICE = "journal.test"
AT = datetime(2026, 5, 1, 9, 41, 52, tzinfo=UTC)
MOMENT = "2026-04-30T08:00:01.000000Z"
LABELS = {"main-courante": "Main courante", "ecrits": "Procès-verbaux et rapports", "journal": "Journal du journal"}
LONG = "Communauté d’agglomération de Saint-Quentin-en-Yvelines, Montigny-le-Bretonneux et Vallée-de-Chevreuse"
HOSTILE = "\u202e#let x = 1 $a$ <b> \u0007 😀 " + "X" * 90


@pytest.fixture
def signer(tmp_path: Path) -> LocalSigner:
    """A signer under a root of its own."""
    make_development_authority(tmp_path, SERVICE, AT - timedelta(days=90))
    return local_signer(tmp_path)


def digest(text: str) -> str:
    """A hash to be found again."""
    return sha256(text.encode()).hexdigest()


def make_file(tenant: str, category: str, first: int, end: int) -> dict[str, Any]:
    """A file as an inventory names it."""
    return {
        "base": {"chain_hash": digest("base"), "size": first},
        "bytes": 1_234_567,
        "from": "2026-03-02",
        "head": {"chain_hash": digest("head"), "size": end},
        "name": f"{tenant}_{category}_2026-03-02_2026-03-03.asice.p7m",
        "origin": f"openepm-journal/v1/{SERVICE}/{tenant}/{category}",
        "placed_at": MOMENT,
        "recipient": digest("recipient"),
        "sha256": digest(category),
        "to": "2026-03-03",
    }


def make_chain(tenant: str, category: str, kept_from: int, size: int) -> dict[str, Any]:
    """A chain as an export's inventory and a destruction report tell it."""
    origin = f"openepm-journal/v1/{SERVICE}/{tenant}/{category}"
    return {"chain_hash": digest(category), "kept_from": kept_from, "origin": origin, "size": size}


def make_json(kind: str, tenant: str = "albi", categories: tuple[str, ...] = tuple(LABELS), **changed: Any) -> bytes:
    """The JSON that a paper goes with."""
    chains = [make_chain(tenant, category, 18_233, 18_233 + number) for number, category in enumerate(categories)]
    files = [make_file(tenant, category, number, 1_234 + number) for number, category in enumerate(categories)]
    members: dict[str, dict[str, Any]] = {
        "handover": {"files": files, "night": "2026-04-30"},
        "export": {
            "chains": chains,
            "closed_at": MOMENT,
            "files": files,
            "seal": {"number": 86_060, "sha256": digest("seal")},
        },
        "destruction": {
            "chains": chains,
            "closed_at": MOMENT,
            "destroyed_at": MOMENT,
            "entries": sum(chain["size"] - chain["kept_from"] for chain in chains),
            "export": {"exported_at": MOMENT, "inventory": digest("inventory")},
            "finished_at": MOMENT,
            "seals": {
                "after": {"number": 86_061, "sha256": digest("after")},
                "before": {"number": 86_060, "sha256": digest("before")},
            },
            "summary": "En bref.",
        },
    }
    members["preservation"] = members["handover"]
    form = "handover" if kind == "preservation" else kind
    common = {"format": f"openepm-journal/{form}/v1", "service": SERVICE, "tenant": tenant}
    return encode({name: value for name, value in (members[kind] | common | changed).items() if value is not None})


def make_paper(content: bytes, **changed: Any) -> Paper:
    """What a paper tells besides."""
    signatory = Signatory(
        service=SERVICE,
        organisation=changed.pop("organisation", "Société d’édition OpenEPM (NTRFR-123456789)"),
        name=changed.pop("name", "CN=Cachet OpenEPM"),
        certificate_sha256=sha256(b"certificate").digest(),
        until=datetime(2028, 3, 1, tzinfo=UTC),
        anchor=changed.pop("anchor", Anchor("CN=Racine", b"\4" * 32, is_development=False)),
        signed_at=AT,
        software="openepm-journal/0",
    )
    remarks = (
        remark_of_request(1_234),
        remark_of_term("Main courante", date(2026, 5, 1), date(2026, 5, 2)),
        remark_of_gone("Main courante", date(2026, 3, 1)),
    )
    values: dict[str, Any] = {
        "remarks": remarks,
        "tenant_name": "Ville d’Albi",
        "labels": LABELS,
        "key_copies": 2,
        "json_name": "albi.json",
    }
    return Paper(**values | changed, signatory=signatory, content=content)


MAKERS: dict[str, tuple[Callable[[Paper], dict[str, Any]], Template]] = {
    "handover": (handover_content, HANDOVER_SLIP),
    "preservation": (preservation_content, PRESERVATION_SLIP),
    "export": (export_content, EXPORT_SLIP),
    "destruction": (destruction_content, DESTRUCTION),
}


async def make(kind: str, signer: LocalSigner, paper: Paper | None = None) -> bytes:
    """Return the document."""
    content, template = MAKERS[kind]
    return await render(content(paper or make_paper(make_json(kind))), signer, AT, template)


def words(document: bytes, path: Path) -> str:
    """The document's text on one line, every space alike, words whole again."""
    text = re.sub(r"\u00ad\s*|\u200b", "", read_text(document, path))
    return re.sub(r"[\s\u00a0\u202f]+", " ", text)


def run(*command: str | Path) -> str:
    """What a tool of Debian's says."""
    program = str(shutil.which(str(command[0])))
    return subprocess.run([program, *command[1:]], capture_output=True, check=True, text=True).stdout


SAID = {
    "handover": [
        "Bordereau de remise",
        "remise du jeudi 30 avril 2026",
        "en 3 fichiers : chaque fichier est un extrait complet, chiffré pour elle seule",
        "albi_main-courante_2026-03-02_2026-03-03.asice.p7m",
        "du 2 mars 2026 au 3 mars 2026",
        "n° 0 à 1 233",
        "1 Mo",
        digest("recipient"),
        "le code de confirmation que montre le fichier ouvert",
    ],
    "preservation": [
        "Bordereau de conservation",
        "À la demande d’une autorité, le service journal.test a remis, le 30 avril 2026 à 8 h 00 min 01 s (temps",
        "chiffré pour le seul titulaire du certificat",
        "albi_main-courante_2026-03-02_2026-03-03.asice.p7m",
        digest("recipient"),
        "l’entrée n° 1 234 du journal de la commune : ses référents seuls la voient.",
        "« Main courante » : le service détruit ces jours du 1er mai 2026 au 2 mai 2026, à 0 h (UTC) au plus tard.",
        "« Main courante » : les jours jusqu’au 1er mars 2026 étaient déjà détruits",
        "La demande ne retarde aucune destruction.",
        "Ce que fait le destinataire",
    ],
    "export": [
        "Bordereau d’export",
        "a pris fin le 30 avril 2026 à 8 h 00 min 01 s (temps universel)",
        "en 3 fichiers",
        "Encore conservées",
        "aucune",
        "n° 86 060",
        digest("seal"),
    ],
    "destruction": [
        "Procès-verbal de destruction",
        "constate que 3 entrées ont été supprimées de la base de données, et que la clé sans laquelle",
        "a été détruite dans les 2 copies du magasin de clés. Il n’en garde rien de lisible.",
        "n° 18 233 à 18 234",
        "remis le 30 avril 2026 à 8 h 00 min 01 s",
        digest("inventory"),
        digest("before"),
        digest("after"),
        "la parole de l’hébergeur",
    ],
}


@pytest.mark.parametrize("kind", MAKERS)
async def test_it_says_what_the_json_says(signer: LocalSigner, tmp_path: Path, kind: str) -> None:
    """Figures, names and hashes, in French; who signs is named; tables are tagged with their headers."""
    document, path = await make(kind, signer), tmp_path / "a.pdf"
    text = words(document, path)
    common = ["VILLE D’ALBI", *LABELS.values(), digest("ecrits"), sha256(make_json(kind)).hexdigest(), "albi.json"]
    block = ["Signature électronique", "Société d’édition OpenEPM (NTRFR-123456789)", "CN=Cachet OpenEPM", "04" * 32]
    for said in (*SAID[kind], *common, *block, "1er mai 2026 à 9 h 41 min 52 s", sha256(b"certificate").hexdigest()):
        assert said in text, said
    assert "essais" not in text
    assert without_zone(MAKERS[kind][0](make_paper(make_json(kind)))) == []
    assert not re.search(r"\b(seal|hand-over|None|True|main-courante (?!_)|origin)\b", text)
    command = [str(shutil.which("pdfinfo")), "-struct", str(path)]
    structure = subprocess.run(command, capture_output=True, check=True).stdout.decode(errors="replace")
    tables = re.findall(r"(?m)^ *Table .*\n(?:^.*\n)*?(?=^ *(?:H1|P|L|Div)\b|\Z)", structure)
    assert len(tables) == structure.count("Table (block)") >= 2
    assert all("TH <" in table and "/Scope /Column" in table for table in tables)
    information = run("pdfinfo", path)
    assert re.search(r"Tagged: +yes", information)
    assert "PDF subtype" not in information
    assert b"pdfaid" not in document


@pytest.mark.parametrize("kind", MAKERS)
async def test_the_signature_is_seen_and_valid(signer: LocalSigner, tmp_path: Path, kind: str) -> None:
    """Its field lies over the block that tells of it; Poppler and pyHanko find it valid and total."""
    document, path = await make(kind, signer), tmp_path / "a.pdf"
    path.write_bytes(document)
    answer = subprocess.run([str(shutil.which("pdfsig")), path], capture_output=True, check=False, text=True).stdout
    assert "Signature is Valid" in answer
    assert "Total document signed" in answer
    signature = await check_signature(document, (tmp_path / "trust.pem").read_bytes(), AT)
    assert signature.sig_object["/Reason"] == MAKERS[kind][1].reason
    field = signature.sig_field
    assert field["/TU"] == "Signature électronique"
    left, bottom, right, top = (int(value) for value in field["/Rect"])
    box = run("pdftotext", "-bbox", path, "-")
    page = box.split("<page ")[-1]
    (place,) = re.findall(r'xMin="([\d.]+)" yMin="([\d.]+)" xMax="([\d.]+)" yMax="([\d.]+)">électronique<', page)
    x, y = float(place[0]), 841.89 - float(place[1])
    assert left < x < right
    assert bottom < y < top
    changed = bytearray(document)
    changed[len(changed) // 4] ^= 1
    path.write_bytes(changed)
    answer = subprocess.run([str(shutil.which("pdfsig")), path], capture_output=True, check=False, text=True).stdout
    assert "Signature is Valid" not in answer


async def test_the_signature_stands_on_no_page_alone(signer: LocalSigner, tmp_path: Path) -> None:
    """However many categories push it over the end of a page, the section that says what it is worth goes with it."""
    anchor = Anchor("CN=x", b"\4" * 32, is_development=True)
    pages = set()
    for count in (6, 7, 8):
        content = make_json("destruction", "albi", tuple(f"c{number}" for number in range(count)))
        document = await make("destruction", signer, make_paper(content, anchor=anchor))
        *before, last, _ = read_text(document, tmp_path / "a.pdf").split("\f")
        assert "Ce que vaut ce proc" in last
        assert "Signature électronique" in last
        pages.add(len(before) + 1)
    assert pages == {1, 2}


@pytest.mark.parametrize("kind", MAKERS)
async def test_long_and_hostile_names_stay_on_the_page(signer: LocalSigner, tmp_path: Path, kind: str) -> None:
    """Nothing lies outside the margins, whatever the names; what cannot be seen is shown by its code."""
    tenant, category = "c" * 63, "d" * 63
    content = make_json(kind, tenant, (category, *(f"{number}-{category}"[:63] for number in range(11))))
    paper = make_paper(
        content,
        tenant_name=f"{HOSTILE} {LONG}",
        labels={category: f"{HOSTILE} {LONG}"},
        organisation=f"{LONG} {HOSTILE}",
        name="CN=" + "s" * 300,
        anchor=Anchor(f"CN={LONG} {LONG}", b"\4" * 32, is_development=True),
        json_name=f"{tenant}_inventory_2026-04-30.json",
    )
    document, path = await make(kind, signer, paper), tmp_path / "a.pdf"
    text = words(document, path)
    for shown in ("⟦U+202E⟧", "#let x = 1 $a$ <b>", "⟦U+0007⟧", "⟦U+1F600⟧", "Pour essais seulement"):
        assert shown in text, shown
    box = run("pdftotext", "-bbox", path, "-")
    margin, width = 18 / 25.4 * 72 - 1, 595.28
    places = [
        (float(left), float(right)) for left, right in re.findall(r'<word xMin="([-\d.]+)".*?xMax="([-\d.]+)"', box)
    ]
    assert len(places) > 100
    assert all(margin <= left and right <= width - margin for left, right in places)
    for name in (b"/JavaScript", b"/JS", b"/URI", b"/Launch", b"/EmbeddedFile", b"/OpenAction"):
        assert name not in document


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"export": None}, "aucun : la commune y a renoncé"),
        ({"entries": 0}, "constate que plus aucune entrée n’était conservée, et que la clé"),
        ({"entries": 1}, "constate que l’unique entrée conservée a été supprimée de la base de données"),
    ],
)
def test_every_end_has_its_words(changed: dict[str, Any], said: str) -> None:
    """Without export, without entries, with a single one."""
    content = destruction_content(make_paper(make_json("destruction", **changed), key_copies=1))
    assert said in str(content).replace("\xa0", " ")
    assert "détruite dans le magasin de clés" in content["lead"].replace("\xa0", " ")


def test_a_certificate_without_organisation_is_said() -> None:
    """The block never names an organisation that no certificate vouches for."""
    rows = dict(make_paper(make_json("handover"), organisation=None, anchor=None).signatory.rows())
    assert "ne nomme pas d’organisme" in rows["Établi et signé par"].replace("\u200b", "")
    assert rows["Confiance"] == "inconnue"

"""The page as people use it, in a real browser: files in, verdict out, in French, and nothing to or from a network."""

from __future__ import annotations

import base64
import re
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from ingest.verifier_page import assemble
from journal.extract.layout import DIGESTS, DOCUMENT, MANIFEST
from journal.extract.listing import encode_head_answer
from journal.pki.certificates import pem_to_der
from tests.browser.chromium import TRUST, VECTORS, choose, page_address, verdict
from tests.browser.kinds import STAMPED, container
from tests.support import authority
from tests.support.extracts import World, contents_of, march, noon, sample
from tests.support.pdf import read_text
from tests.support.receipts import answered

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import BrowserContext, Page

    from tests.support.extracts import Extract


# --- what it says


def test_a_valid_extract_is_told_in_one_sentence(page: Page, files: Path) -> None:
    """Then who asked, why, who signed, what was checked, and what could not be."""
    choose(page, files, container("complete"))
    assert "Authentique et complet : toutes les entrées (4) du 2 au 3 mars 2026." in verdict(page)
    report = page.locator("#report").inner_text()
    for text in (
        "Mairie de Montreuil",
        "vérification de la licéité du traitement",
        "CN=Seals and extracts",
        "4 communiquées, 0 non communiquée",
        "5 mars 2026 à 12:00:02 UTC, déclarée par le signataire",
        "Ce qui a été vérifié",
        "Ce qui n’a pas pu l’être",
        "Sans repère extérieur",
    ):
        assert text in report


def test_a_filtered_extract_says_what_it_withholds(page: Page, files: Path) -> None:
    """And that the filter itself rests on the service's word."""
    choose(page, files, container("by account"))
    assert "1 entrée communiquée du 2 au 3 mars 2026, 3 non communiquées, aucune manquante" in verdict(page)
    report = page.locator("#report").inner_text()
    assert "compte = « agent-1 »" in report
    assert "qu’aucune d’elles n’est de celles que le filtre demande" in report


def test_a_purge_is_told_with_its_days(page: Page, files: Path) -> None:
    """It is worth knowing, not a failure."""
    choose(page, files, container("purged within"))
    assert "toutes les entrées encore conservées (2)" in verdict(page)
    assert (
        "Purge au terme de la règle de conservation (contrat, art. 13.2) : les jours jusqu’au 4 mars 2026 sont purgés"
        in page.locator(".remarks").inner_text()
    )


def test_a_rule_that_grows_is_told_once(page: Page, files: Path) -> None:
    """A longer rule is stated a day more each day: one sentence, from where to where."""
    choose(page, files, (VECTORS / "rule-lengthened-whole.asice").read_bytes())
    assert "Authentique et complet" in verdict(page)
    remarks = page.locator(".remarks").inner_text()
    assert remarks.count("la durée de conservation passe") == 1
    assert "la durée de conservation passe de 5 à 8 jours" in remarks


def test_a_source_and_id_that_come_back_are_named(page: Page, files: Path) -> None:
    """They are worth knowing: perhaps one access, which a module dated anew when it sent again."""
    choose(page, files, (VECTORS / "repeated-id.asice").read_bytes())
    assert "Authentique et complet" in verdict(page)
    assert "/openepm/montreuil again (entrées 2, 3)" in page.locator(".remarks").inner_text()


def _damaged() -> bytes:
    whole = bytearray(container("complete"))
    whole[500] ^= 1
    return bytes(whole)


def _with_a_gap() -> bytes:
    extract = sample()
    extract.proof.pop(1)
    extract.records.pop(1)
    return extract.pack()


def _changed(**changes: object) -> bytes:
    extract: Extract = sample()
    return replace(extract, manifest=replace(extract.manifest, **changes)).pack()  # type: ignore[arg-type]  # any field


@pytest.mark.parametrize(
    ("extract", "said"),
    [
        (_damaged(), ("Malformé", "entries.ndjson")),
        (_with_a_gap(), ("Lacune", "l’entrée 3 manque")),
        (_changed(last_day=march(7)), ("Période non couverte", "2026-03-07")),
        (_changed(issued_at=noon(march(4))), ("Parties discordantes", "manifest.json")),
    ],
    ids=["damaged", "gap", "not covered", "mismatched"],
)
def test_a_refusal_gives_the_class_the_part_and_the_reason(
    page: Page, files: Path, extract: bytes, said: tuple[str, str]
) -> None:
    """The class in French, the part, the reason; FORMAT.md's word comes last; of the content nothing is shown."""
    choose(page, files, extract)
    text = verdict(page)
    assert text.startswith("REFUSÉ")
    assert all(part in text for part in said)
    assert "Mairie de Montreuil" not in page.locator("#report").inner_text()


def test_trust_comes_from_what_the_auditor_brings(page: Page, files: Path) -> None:
    """Another authority's certificate: refused; a file that is none: no verdict at all."""
    choose(page, files, container("complete"), trust="tsa.pem")
    said = verdict(page)
    other = sha256(pem_to_der((files / "tsa.pem").read_bytes())[0]).hexdigest()
    assert said.split("\n")[1].startswith("Signataire non reconnu")
    begun = " ".join(other[place : place + 4] for place in range(0, 16, 4))
    assert f"Le certificat choisi (SHA-256 {begun}…) n’est pas celui de ce service" in said
    assert said.index("le bon fichier ?") < said.index("La signature tient")
    assert "ne doit être tenu pour établi" not in said
    (files / "notes.pem").write_text("bonjour")
    choose(page, files, container("complete"), trust="notes.pem")
    assert "Aucun verdict" in verdict(page)
    page.set_input_files("#extract", files / "trust.pem")
    assert "Dans la case « L’extrait », vous avez mis un certificat (trust.pem)." in verdict(page)


def test_each_fingerprint_says_what_it_is_of(page: Page, files: Path) -> None:
    """By fours: of the certificate, of each file, of the manifest, of what is signed."""
    extract = container("complete")
    choose(page, files, extract)
    verdict(page)
    facts = re.sub(r"(?<=[0-9a-f]{4}) (?=[0-9a-f]{4})", "", page.locator("#details dl").inner_text())
    members = contents_of(extract)
    for data, of in (
        (pem_to_der((files / "trust.pem").read_bytes())[0], "empreinte du certificat (SHA-256), telle que la donnent"),
        (extract, "Empreinte du fichier\nextrait.asice : "),
        ((files / "trust.pem").read_bytes(), "Empreinte du fichier\ntrust.pem : "),
        (members[MANIFEST], "Empreinte du manifeste\n"),
        (members[DIGESTS], "Empreinte de ce qui est signé\n"),
    ):
        assert sha256(data).hexdigest() in facts.split(of)[1].split("\n")[0], of


def test_a_file_that_changed_is_said_to_have_changed(page: Page, files: Path) -> None:
    """No verdict on half of one and half of another; chosen again, it is verified as it is."""
    choose(page, files, container("complete"))
    (files / "extrait.asice").write_bytes(container("by account"))
    assert "Le fichier a changé" in verdict(page)
    choose(page, files, container("by account"))
    assert "1 entrée communiquée" in verdict(page)


def test_known_seals_and_time_stamps_say_since_when_nothing_was_rewritten(page: Page, files: Path) -> None:
    """One known seal agrees, one cannot be compared, and that is told as an open question."""
    world = World().live(1, 4)
    extract = world.extract(march(2), march(3), at=noon(march(5))).pack()
    (files / "avant.json").write_bytes(encode_head_answer(world.closes[march(2)]))
    (files / "apres.json").write_bytes(encode_head_answer(world.closes[march(4)]))
    choose(page, files, extract, known="avant.json apres.json")
    assert verdict(page).startswith("VÉRIFIÉ, SAUF UNE COMPARAISON")
    assert "avant.json, sceau 2, concorde" in page.locator(".checked").inner_text()
    assert "apres.json : non comparable" in page.locator(".unanswered").inner_text()
    page.get_by_role("button", name="Effacer").click()
    choose(page, files, container(STAMPED), stampers="tsa.pem")
    said = verdict(page)
    assert "Ce que couvre le sceau 3 n’a pas pu être réécrit après le 4 mars 2026 à 00:00:07 UTC, " in said
    assert "UTC, soit 01:00:07 à Paris (± 1 s)." in said


def test_receipts_say_whether_the_host_shows_what_it_acknowledged(page: Page, files: Path) -> None:
    """Covered, missing, or not authentic: each in its words; a missing entry decides the verdict."""
    world = World().live(1, 4)
    extract = world.extract(march(2), march(3), at=noon(march(5))).pack()
    lost = World().live(1, 1)
    lost.append(noon(march(2)), subject="ce qui a été supprimé")
    answers = {
        "couvert.json": answered(world, 2, 3),
        "manquant.json": answered(lost, 2),
        "faux.json": answered(world, 2, signing_key=authority.new_key(61)),
    }
    for name, answer in answers.items():
        (files / name).write_bytes(answer.encode())
    choose(page, files, extract, receipts="couvert.json")
    assert verdict(page).startswith("VÉRIFIÉ\nAuthentique et complet")
    said = page.get_by_role("heading", name="Les reçus").locator("..").inner_text()
    assert "couvert.json, entrée 2 du 2 mars 2026" in said
    assert said.count(" : couvert ; ") == 2
    choose(page, files, extract, receipts="couvert.json manquant.json")
    found = verdict(page)
    assert "Entrée manquante" in found
    assert "manquant.json : le service a accusé réception de ce qu’il ne montre pas : l’entrée 2 est une autre" in found
    assert "Conservez le reçu et l’extrait" in found
    choose(page, files, extract, receipts="faux.json")
    found = verdict(page)
    assert "Signature invalide" in found
    assert "ne dit rien du service" in found


def test_receipts_alone(page: Page, files: Path) -> None:
    """Without an extract, only their own authenticity is said."""
    (files / "seul.json").write_bytes(answered(World().live(1, 2), 2).encode())
    page.set_input_files("#trust", files / "trust.pem")
    page.set_input_files("#receipts", files / "seul.json")
    assert "1 reçu vérifié." in verdict(page)
    assert "authentique" in page.get_by_role("heading", name="Les reçus").locator("..").inner_text()


def test_texts_of_an_extract_cannot_act(page: Page, files: Path) -> None:
    """Markup is text, and what hides or reorders is made visible."""
    choose(page, files, sample(requester="<img src=x onerror=alert(1)> \u202egnp.exe").pack())
    verdict(page)
    assert "<img src=x onerror=alert(1)> ⟦U+202E⟧gnp.exe" in page.locator("#report").inner_text()
    assert page.locator("#report img").count() == 0


def test_the_verdict_stands_under_the_form_and_prints_on_two_sheets(page: Page, files: Path, tmp_path: Path) -> None:
    """The card of hand-overs is folded below it; its times are given in Paris too."""
    choose(page, files, container(STAMPED), stampers="tsa.pem")
    said = verdict(page)
    assert re.search(r"le 4 mars 2026 à 00:00:07 UTC, soit 01:00:07 à Paris", said)
    places = [
        page.locator(name).evaluate("e => e.getBoundingClientRect().top") for name in ("#form", ".verdict", "#keys")
    ]
    assert places == sorted(places)
    assert not page.locator("#keys-tools").is_visible()
    text = read_text(page.pdf(prefer_css_page_size=True), tmp_path / "verdict.pdf")
    sheets = text.removesuffix("\f").split("\f")
    assert len(sheets) <= 2
    assert "Ce qui a été vérifié" in sheets[0]
    page.get_by_role("button", name="Effacer").click()
    assert page.locator("#keys-tools").is_visible()


def test_without_script_it_says_so_first_and_offers_nothing(chromium: BrowserContext) -> None:
    """Neither form nor buttons are shown; what is said stands before all else."""
    bare = chromium.new_page()
    chromium.new_cdp_session(bare).send("Emulation.setScriptExecutionDisabled", {"value": True})
    bare.goto(page_address())
    said = bare.locator("noscript .notice")
    expect(said).to_have_text(re.compile("^JavaScript est désactivé"))
    box = said.bounding_box()
    assert box is not None
    assert box["y"] < 40
    assert [bare.locator(name).is_visible() for name in ("#form", "#start", "#keys")] == [False] * 3
    bare.close()


# --- how it is used


def test_it_asks_for_what_is_missing(page: Page, files: Path) -> None:
    """In a live region, with the focus on the field."""
    status = page.locator("#status[role=status][aria-live=polite]")
    page.get_by_role("button", name="Vérifier").click()
    assert status.inner_text() == "Choisissez d’abord l’extrait à vérifier."
    assert page.evaluate("document.activeElement.id") == "extract"
    choose(page, files, container("complete"), trust="")
    page.get_by_role("button", name="Vérifier").click()
    assert status.inner_text() == "Choisissez aussi le certificat de confiance."


def test_a_verdict_is_not_left_beside_other_files(page: Page, files: Path) -> None:
    """Once another extract is chosen, nothing is called verified until it is, and the page says what to do."""
    choose(page, files, container("complete"))
    assert "Authentique et complet" in verdict(page)
    other = files / "other.asice"
    other.write_bytes(container("by account"))
    page.set_input_files("#extract", other)
    expect(page.locator(".verdict")).to_have_count(0)
    expect(page.locator("#status")).to_have_text(re.compile("Les fichiers ont changé : appuyez sur « Vérifier »"))
    assert "communiquée" in verdict(page)
    assert not page.locator("#status").is_visible()


def test_the_keyboard_is_enough(page: Page, files: Path) -> None:
    """Every field and button is reached in order; the verdict then has the focus."""
    choose(page, files, container("complete"))
    page.locator("body").focus()
    reached = []
    for _ in range(7):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert reached == ["extract", "trust", "known", "receipts", "stampers", "start", "clear"]
    page.focus("#start")
    page.keyboard.press("Enter")
    page.locator(".verdict").wait_for()
    assert page.evaluate("document.activeElement.closest('.verdict') !== null")


def test_every_field_has_a_name(page: Page) -> None:
    """As assistive software reads it."""
    for name in ("L’extrait", "Le certificat de confiance", "Sceaux déjà connus", "Reçus", "Certificat d’horodatage"):
        assert page.locator("#form").get_by_label(name).count() == 1


DROP = """([kind, files]) => {
  const transfer = new DataTransfer();
  for (const [name, text] of files) {
    transfer.items.add(new File([Uint8Array.from(atob(text), (character) => character.charCodeAt(0))], name));
  }
  const target = kind ? document.querySelector(`[data-file=${kind}]`) : document.body;
  target.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


def test_files_may_be_dropped_anywhere(page: Page) -> None:
    """Each goes to its field by its name; a field takes what is dropped on it."""
    extract, trust = (
        base64.b64encode(container("complete")).decode(),
        base64.b64encode(TRUST["anchors"].encode()).decode(),
    )
    page.evaluate(DROP, ["", [["a.asice", extract], ["trust.pem", trust], ["ancien.asice", extract]]])
    assert [page.locator(f"#{kind}-name").inner_text() for kind in ("extract", "trust", "known")] == [
        "a.asice",
        "trust.pem",
        "ancien.asice",
    ]
    page.evaluate(DROP, ["extract", [["b.zip", extract]]])
    assert page.locator("#extract-name").inner_text() == "b.zip"
    assert "Authentique et complet" in verdict(page)


def test_it_can_be_stopped_and_begun_again(page: Page, files: Path) -> None:
    """Stopping leaves no verdict; the same files can be verified at once."""
    extract = sample()
    extract.parts[DOCUMENT] = bytes(2**25)
    choose(page, files, extract.pack())
    page.evaluate("for (const id of ['start', 'stop']) document.getElementById(id).click()")
    assert page.locator("#status").inner_text() == "Vérification interrompue."
    assert page.locator(".verdict").count() == 0
    assert "Authentique et complet" in verdict(page)
    assert "extrait.pdf est signé, mais n’a pas été comparé" in page.locator(".unchecked").inner_text()
    page.get_by_role("button", name="Effacer").click()
    assert page.locator("#report").inner_text() == ""
    assert page.locator("#extract-name").inner_text() == ""


# --- what it is made of


def test_only_its_own_scripts_and_styles_run() -> None:
    """The policy names them by their SHA-256."""
    html = assemble().decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    scripts, styles = (re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", html, re.DOTALL) for tag in ("script", "style"))
    named = [" ".join(f"'sha256-{_base64_sha256(text)}'" for text in texts) for texts in (scripts, styles)]
    assert policy[1] == (
        f"default-src 'none'; script-src {named[0]}; worker-src blob:; connect-src 'none'; style-src {named[1]}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    assert " style=" not in html
    assert not re.search(r"\son\w+=", html)


def _base64_sha256(text: str) -> str:
    return base64.b64encode(sha256(text.encode()).digest()).decode()


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """Listen on loopback; yield the address and what was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()

        do_POST = do_GET  # noqa: N815 - the name http.server calls

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


ESCAPES = """async (address) => {
  const source = `
    const tries = [
      fetch('${address}/worker-fetch').then(() => 'reached', () => 'refused'),
      new Promise((done) => {
        try { importScripts('${address}/worker-script'); done('reached'); } catch { done('refused'); }
      }),
    ];
    Promise.all(tries).then(postMessage);`;
  const worker = new Worker(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
  const inWorker = new Promise((done) => { worker.onmessage = ({ data }) => done(data); });
  const image = new Promise((done) => {
    const made = new Image();
    made.onload = made.onerror = (event) => done(event.type === 'load' ? 'reached' : 'refused');
    made.src = `${address}/image`;
  });
  const inPage = [fetch(`${address}/fetch`).then(() => 'reached', () => 'refused'), image];
  navigator.sendBeacon(`${address}/beacon`, 'x');
  const form = Object.assign(document.createElement('form'), { action: `${address}/form`, method: 'post' });
  document.body.append(form);
  form.submit();
  return [...await Promise.all(inPage), ...await inWorker];
}"""


def test_it_cannot_reach_a_network(chromium: BrowserContext) -> None:
    """Neither the page nor a worker that it starts, by any way out: the policy holds, whatever the code does."""
    page = chromium.new_page()
    page.goto(page_address())
    with listening() as (address, asked):
        assert page.evaluate(ESCAPES, address) == ["refused"] * 4
        assert page.evaluate("fetch('data:,x').then(() => 'reached', () => 'refused')") == "refused"
        page.close()
    assert asked == []


def test_it_asks_for_nothing_and_works_offline(chromium: BrowserContext, files: Path) -> None:
    """With the network off, from the disk: nothing is requested but the page and its own worker."""
    chromium.set_offline(offline=True)
    page = chromium.new_page()
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(page_address())
    choose(page, files, container(STAMPED), known="extrait.asice", stampers="tsa.pem")
    assert "Authentique et complet" in verdict(page)
    page.close()
    chromium.set_offline(offline=False)
    assert requested[0] == page_address()
    assert [url for url in requested[1:] if not url.startswith("blob:")] == []


def _luminance(colour: str) -> float:
    linear = []
    for place in (1, 3, 5):
        share = int(colour[place : place + 2], 16) / 255
        linear.append(share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4)
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_texts_stand_out_from_their_ground() -> None:
    """By WCAG's measure for small text, 4.5, on light and dark."""
    themes = re.findall(r":root \{(.*?)\}", assemble().decode(), re.DOTALL)[:2]
    pairs = (
        *((ink, ground) for ink in ("ink", "soft", "accent") for ground in ("paper", "ground")),
        ("on-accent", "accent"),
        *((f"{tone}", f"{tone}-ground") for tone in ("good", "bad", "part")),
        *(("ink", f"{tone}-ground") for tone in ("good", "bad", "part")),
    )
    for theme in themes:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", theme))
        for ink, ground in pairs:
            low, high = sorted((_luminance(colours[ink]), _luminance(colours[ground])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)

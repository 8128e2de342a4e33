"""A commune with a browser alone: makes its key, opens what it was handed, verifies and confirms it."""

from __future__ import annotations

import asyncio
import base64
import re
import subprocess
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ingest.verifier_page import assemble
from journal.admin.confirmation import confirm_handover
from journal.admin.recipient import read_recipient_pem
from retention.encryption import Encryption
from tests.browser.chromium import TRUST, browser, page_address
from tests.browser.looks import check, some_or_every
from tests.support.communes import SHORT
from tests.support.extracts import sample
from tests.support.world import DAY, FIRST, START, TENANT, new_world

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import BrowserContext, Page

    from journal.database.embedded import EmbeddedPostgres

PASSPHRASE = "quatre mots sans rapport, là"
# A key is derived from a passphrase as slowly as it must be, on a machine that may be busy.
LIMIT_MILLISECONDS = 120_000
PEM = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n{}\n-----END ENCRYPTED PRIVATE KEY-----\n"


def opened_page(context: BrowserContext, *, at: Any = None) -> Page:
    """Open the page from its file, at some time."""
    page = context.new_page()
    page.set_default_timeout(LIMIT_MILLISECONDS)
    if at is not None:
        page.clock.set_fixed_time(at)
    page.goto(page_address())
    return page


def fill_making(page: Page, commune: str, passphrase: str, repeated: str) -> str:
    """Ask for a key; return what the page says then."""
    if not page.locator("#making-part").evaluate("part => part.open"):
        page.get_by_text("Faire la clé de la commune").click()
    page.get_by_label("Nom de la commune").fill(commune)
    page.get_by_label("Phrase de passe", exact=True).fill(passphrase)
    page.get_by_label("La même, encore une fois").fill(repeated)
    page.get_by_role("button", name="Faire la clé").click()
    page.wait_for_selector("#making-start:enabled")
    return page.locator("#making-said").inner_text()


def save(page: Page, button: str, directory: Path) -> Path:
    """Save a file that the page made."""
    with page.expect_download() as downloading:
        page.get_by_role("button", name=button).click()
    path = directory / downloading.value.suggested_filename
    downloading.value.save_as(path)
    return path


def open_handover(page: Page, handover: Path | None, key: Path | None, passphrase: str) -> str:
    """Ask for a hand-over to be opened; return what the page says then."""
    if not page.locator("#handover-part").evaluate("part => part.open"):
        page.get_by_text("Ouvrir une remise", exact=True).click()
    for place, file in (("#handover", handover), ("#key", key)):
        if file is not None:
            page.set_input_files(place, file)
    page.get_by_label("Phrase de passe de la clé").fill(passphrase)
    page.get_by_role("button", name="Ouvrir la remise").click()
    page.wait_for_selector("#handover-open:enabled")
    return page.locator("#handover-said").inner_text()


def run(*command: str | Path) -> str:
    """What openssl says."""
    done = subprocess.run(["openssl", *command], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def key_made(directory: Path) -> tuple[Path, Path, str]:
    """Make a key in the browser, on the first day; return the key, the certificate and the fingerprint shown."""
    with browser() as context:
        page = opened_page(context, at=START)
        said = fill_making(page, "Ville d’Albi", PASSPHRASE, PASSPHRASE)
        assert said.startswith("La clé est faite. Enregistrez les deux fichiers maintenant")
        kept, sent = save(page, "Enregistrer la clé", directory), save(page, "Enregistrer le certificat", directory)
        return kept, sent, page.locator("#fingerprint").inner_text().replace(" ", "")


def verified(directory: Path, handover: Path, key: Path, trust: Path) -> tuple[str, str, Path]:
    """Open and verify a hand-over in the browser; return the verdict, the code, and the extract that it saved."""
    with browser() as context:
        page = opened_page(context)
        page.set_input_files("#trust", trust)
        said = open_handover(page, handover, key, PASSPHRASE)
        assert said == "La remise est ouverte, et sa vérification a commencé."
        verdict = page.locator(".verdict").inner_text()
        page.get_by_role("tab", name="Entrées").click()
        assert page.locator("#table tbody tr").count() == 3
        return verdict, page.locator("#code").inner_text(), save(page, "Enregistrer l’extrait ouvert", directory)


@pytest.mark.usefixtures("no_documents")
async def test_a_commune_keeps_its_days(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """Key made, certificate taken, days handed over, opened, verified, confirmed; openssl opens them as well."""
    kept, sent, fingerprint = await asyncio.to_thread(key_made, tmp_path)
    recipient = read_recipient_pem(sent.read_bytes())
    assert (recipient.sha256.hex(), recipient.certificate.name) == (
        fingerprint,
        "CN=Remises du journal des accès, O=Ville d’Albi",
    )
    assert "PRIVATE" not in sent.read_text()
    # A hand-over tells this number: the page says which file it is for.
    begins = f"{recipient.certificate.serial:x}"[:8]
    assert [path.name for path in (kept, sent)] == [
        f"{what}-de-remise-{FIRST}-{begins}.pem" for what in ("cle", "certificat")
    ]
    async with new_world(postgres, tmp_path / "home") as world:
        await world.installation.administration.add_category(SHORT)
        await world.installation.maintenance.prepare()
        await world.installation.administration.register_recipient(TENANT, sent.read_bytes())
        await world.record(3, category=SHORT.code)
        await world.travel_to(FIRST + 3 * DAY)
        (handed,) = await world.installation.handover.run()
        trust = world.settings.trust_path
        verdict, code, extract = await asyncio.to_thread(verified, tmp_path, handed.path, kept, trust)
        assert "VÉRIFIÉ" in verdict.upper()
        assert extract.name == handed.path.name.removesuffix(".p7m")
        assert world.verify(extract.read_bytes()).manifest.disclosed == 3
        assert re.fullmatch(r"(?:[0-9a-f]{4} ){3}[0-9a-f]{4}", code)
        await confirm_handover(world.service, TENANT, code)
        await world.travel_to(FIRST + 4 * DAY, hour=0.5)
        assert [due.category for due in await world.installation.purger.run()] == [SHORT.code]
    # The same two files do without a browser.
    passing = f"pass:{PASSPHRASE}"
    run("verify", "-attime", str(int(START.timestamp())), "-CAfile", sent, sent)
    run("cms", "-decrypt", "-binary", "-inform", "DER", "-in", handed.path, "-recip", sent, "-inkey", kept,
        "-passin", passing, "-out", tmp_path / "by-openssl")  # fmt: skip
    assert (tmp_path / "by-openssl").read_bytes() == extract.read_bytes()
    parts = run("asn1parse", "-in", kept)
    for part in ("PBES2", "PBKDF2", f":{600_000:06X}", "hmacWithSHA256", "aes-256-cbc"):
        assert part in parts, part


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys that openssl made, of each kind, a hand-over to each of an extract that verifies, and harm done to one."""
    directory = tmp_path_factory.mktemp("given")
    extract = sample().pack()
    passing = ("-passin", f"pass:{PASSPHRASE}")
    for name, options in {
        "ec256": ("EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
        "ec384": ("EC", "-pkeyopt", "ec_paramgen_curve:P-384"),
        "rsa": ("RSA", "-pkeyopt", "rsa_keygen_bits:3072"),
        "other": ("EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
    }.items():
        key, certificate = directory / f"{name}.pem", directory / f"{name}.crt"
        run("genpkey", "-aes256", "-pass", passing[1], "-algorithm", *options, "-out", key)
        run("req", "-x509", "-key", key, *passing, "-days", "400", "-subj", "/O=Ville", "-out", certificate)
        encryption = Encryption(read_recipient_pem(certificate.read_bytes()))
        content = encryption.start() + encryption.update(extract) + encryption.finish()
        (directory / f"{name}.asice.p7m").write_bytes(content)
    run("pkcs8", "-in", directory / "ec256.pem", *passing, "-out", directory / "plain.pem")
    run("pkcs8", "-topk8", "-v2", "des3", "-in", directory / "plain.pem", "-passout", passing[1],
        "-out", directory / "des3.pem")  # fmt: skip
    # PBKDF2 without a round, which no browser does: the content of an INTEGER in what openssl wrote.
    run("pkcs8", "-topk8", "-v2", "aes-256-cbc", "-iter", "9", "-in", directory / "plain.pem", "-passout", passing[1],
        "-outform", "DER", "-out", directory / "nine.der")  # fmt: skip
    unrolled = (directory / "nine.der").read_bytes().replace(b"\x02\x01\x09", b"\x02\x01\x00", 1)
    (directory / "zero.pem").write_text(PEM.format(base64.b64encode(unrolled).decode()))
    damaged = PEM.replace("ENCRYPTED PRIVATE KEY", "CERTIFICATE").format("AAAA")
    (directory / "half.pem").write_text((directory / "ec256.pem").read_text() + damaged)
    other = (directory / "other.pem").read_bytes() + (directory / "other.crt").read_bytes()
    (directory / "other-whole.pem").write_bytes(other)
    whole = (directory / "ec256.asice.p7m").read_bytes()
    (directory / "cut.asice.p7m").write_bytes(whole[:-20])
    (directory / "longer.asice.p7m").write_bytes(whole + b"\0")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    (directory / "flipped.asice.p7m").write_bytes(flipped)
    (directory / "opened.asice.p7m").write_bytes(extract)
    (directory / "empty.asice.p7m").write_bytes(b"")
    (directory / "trust.pem").write_text(TRUST["anchors"])
    (directory / "code").write_text(sha256(extract).hexdigest()[:16])
    return directory


@pytest.mark.parametrize(
    ("key", "passphrase"), [("ec256", PASSPHRASE), ("ec384", PASSPHRASE), ("rsa", PASSPHRASE), ("plain", "")]
)
def test_keys_that_openssl_made_open_too(page: Page, given: Path, key: str, passphrase: str) -> None:
    """Of each kind that the service takes, protected or not; without trust, the page asks for it before it verifies."""
    handover = given / ("ec256.asice.p7m" if key == "plain" else f"{key}.asice.p7m")
    said = open_handover(page, handover, given / f"{key}.pem", passphrase)
    assert said == "La remise est ouverte. Choisissez en haut de la page le certificat de confiance, puis « Vérifier »."
    assert page.locator("#code").inner_text().replace(" ", "") == (given / "code").read_text()
    assert page.locator("#passphrase").input_value() == ""
    page.set_input_files("#trust", given / "trust.pem")
    page.get_by_role("button", name="Vérifier", exact=True).click()
    assert "VÉRIFIÉ" in page.locator(".verdict").inner_text().upper()


def test_what_an_authority_had_preserved_asks_for_no_confirmation(page: Page, given: Path, tmp_path: Path) -> None:
    """Neither the console nor the host takes its code: the page shows none, and one again for a hand-over."""
    preserved = tmp_path / "albi_ecrits_2026-11-24_2026-11-25_conservation-20261129T095517Z.asice.p7m"
    preserved.write_bytes((given / "ec256.asice.p7m").read_bytes())
    assert "est ouverte" in open_handover(page, preserved, given / "plain.pem", "")
    opened = page.locator("#handover-opened")
    assert "il n’y a rien à confirmer" in opened.inner_text()
    assert "Code de confirmation" not in opened.inner_text()
    assert "est ouverte" in open_handover(page, given / "ec256.asice.p7m", given / "plain.pem", "")
    assert "Code de confirmation" in opened.inner_text()
    assert "rien à confirmer" not in opened.inner_text()


@pytest.mark.parametrize(
    ("handover", "key", "passphrase", "said"),
    [
        ("", "", "", "Choisissez d’abord la remise à ouvrir."),
        ("ec256", "", "", "Choisissez aussi le fichier de la clé."),
        ("ec256", "ec256.pem", "", "Écrivez la phrase de passe de la clé."),
        ("ec256", "ec256.pem", "autre chose que cela", "La phrase de passe n’est pas celle de cette clé"),
        ("rsa", "rsa.pem", PASSPHRASE.upper(), "l’apostrophe, courbe (’) ou droite (')"),
        ("ec256", "ec256.crt", PASSPHRASE, "Ce fichier ne contient que le certificat, qui n’ouvre rien"),
        ("ec256", "code", PASSPHRASE, "Ce fichier ne contient pas de clé"),
        ("ec256", "des3.pem", PASSPHRASE, "faites réécrire la clé par « openssl pkcs8 -topk8 -v2 aes-256-cbc »"),
        ("ec256", "zero.pem", PASSPHRASE, "protégée d’une façon que cette page ne connaît pas"),
        ("ec256", "half.pem", PASSPHRASE, "La clé est bonne, mais le certificat qui la suit dans ce fichier est abîmé"),
        ("ec256", "other.pem", PASSPHRASE, "cherchez le fichier cle-de-remise-AAAA-MM-JJ-"),
        ("ec256", "other-whole.pem", PASSPHRASE, "Celle que vous avez choisie est du "),
        ("ec256", "ec384.pem", PASSPHRASE, "Cette remise est chiffrée pour une autre clé"),
        ("ec256", "rsa.pem", PASSPHRASE, "Cette remise est chiffrée pour une autre clé"),
        ("rsa", "ec256.pem", PASSPHRASE, "Cette remise est chiffrée pour une autre clé"),
        ("cut", "plain.pem", "", "Ce fichier est abîmé ou incomplet"),
        ("longer", "plain.pem", "", "Ce fichier est abîmé ou incomplet"),
        ("flipped", "plain.pem", "", "Ce fichier est abîmé ou incomplet"),
        ("opened", "plain.pem", "", "Ce fichier n’est pas une remise"),
        ("empty", "plain.pem", "", "Ce fichier n’est pas une remise"),
    ],
)
def test_what_does_not_open_is_said(
    page: Page, given: Path, handover: str, key: str, passphrase: str, said: str
) -> None:
    """Each in a sentence that says what to do; nothing is shown as opened."""
    file = given / f"{handover}.asice.p7m" if handover else None
    text = open_handover(page, file, given / key if key else None, passphrase).replace("\xa0", " ")
    assert said in text
    assert not page.locator("#handover-opened").is_visible()
    assert page.locator("#handover-said").evaluate("said => said.classList.contains('warning')")


def test_a_second_key(page: Page, given: Path) -> None:
    """What was opened before is no longer shown once another file does not open; then the right key opens it."""
    assert "est ouverte" in open_handover(page, given / "ec256.asice.p7m", given / "plain.pem", "")
    assert "autre clé" in open_handover(page, given / "other.asice.p7m", given / "plain.pem", "")
    assert not page.locator("#handover-opened").is_visible()
    assert "est ouverte" in open_handover(page, None, given / "other.pem", PASSPHRASE)
    assert page.locator("#handover-opened").is_visible()


@pytest.mark.parametrize(
    ("commune", "passphrase", "repeated", "said"),
    [
        (" ", PASSPHRASE, PASSPHRASE, "Écrivez le nom de la commune"),
        ("Albi", "trop court", "trop court", "La phrase de passe est trop courte : au moins 15 signes."),
        ("Albi", PASSPHRASE, PASSPHRASE + " ", "Les deux phrases de passe ne sont pas les mêmes"),
    ],
)
def test_a_key_is_not_made_carelessly(page: Page, commune: str, passphrase: str, repeated: str, said: str) -> None:
    """A name, a passphrase of some length, twice the same."""
    assert said in fill_making(page, commune, passphrase, repeated).replace("\xa0", " ")
    assert not page.locator("#made").is_visible()


def test_two_keys_have_nothing_in_common(page: Page) -> None:
    """Two of one name and passphrase have other keys, salts and numbers; a name may hold any sign."""
    texts = []
    for _ in range(2):
        made = page.evaluate(f"Verifier.makeKey('Sainte-Foy-l’Argentière <b> 😀', {PASSPHRASE!r})")
        texts.append((made["kept"], made["sent"]))
        recipient = read_recipient_pem(made["sent"].encode())
        assert r"O=Sainte-Foy-l’Argentière \<b\> 😀" in recipient.certificate.name
        assert isinstance(recipient.key, ec.EllipticCurvePublicKey)
        with pytest.raises(Exception, match="private key"):
            read_recipient_pem(made["kept"].encode())
    assert len({text for pair in texts for text in pair}) == 4


def test_a_served_page_makes_and_opens_nothing(chromium: BrowserContext) -> None:
    """Where a host serves the page, it only says to save it: whoever serves it could change it."""
    page = chromium.new_page()
    page.route("https://journal.example/**", lambda route: route.fulfill(body=assemble(), content_type="text/html"))
    page.goto("https://journal.example/verifier")
    assert not page.locator("#keys-tools").is_visible()
    assert "Une clé ne se fait et ne s’ouvre que dans le fichier" in page.locator("#keys-online").inner_text()
    with page.expect_download() as downloading:
        page.get_by_role("link", name="enregistrez la page").click()
    assert downloading.value.suggested_filename == "verifier.html"
    page.close()


def test_a_hand_over_may_be_dropped(page: Page, given: Path) -> None:
    """Dropped anywhere, it is taken for what it is."""
    content = list((given / "ec256.asice.p7m").read_bytes())
    page.evaluate(
        """content => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([Uint8Array.from(content)], 'albi.asice.p7m'));
          document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true }));
        }""",
        content,
    )
    assert page.locator("#handover-name").inner_text() == "albi.asice.p7m"
    assert page.locator("#extract-name").inner_text() == ""
    assert "est ouverte" in open_handover(page, None, given / "plain.pem", "")


@some_or_every
def test_every_state_at_every_width(page: Page, given: Path, looks: Any) -> None:
    """In both themes, nothing that axe finds, nothing beside the page: empty, refused, opened, made."""
    states: dict[str, Callable[[], object]] = {
        "empty": lambda: page.get_by_text("Ouvrir une remise", exact=True).click(),
        "refused": lambda: open_handover(page, given / "ec256.asice.p7m", given / "other-whole.pem", PASSPHRASE),
        "opened": lambda: open_handover(page, None, given / "plain.pem", ""),
        "made": lambda: fill_making(page, "Ville d’Albi", PASSPHRASE, PASSPHRASE),
    }
    for name, come in states.items():
        come()
        check(page, looks, name)

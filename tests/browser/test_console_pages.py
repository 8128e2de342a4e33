"""The console in a real Chromium: from the invitation to the extract, each page at two widths, in both themes."""

from __future__ import annotations

import re
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pyotp
import pytest

from tests.browser.looks import check, faults, some_or_every
from tests.support.commands import DONE, VERIFY, command, post_event, serving
from tests.support.console import PASSWORD, REFERENT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import BrowserContext, Page

PAGES = ("", "/extrait", "/registre", "/remises", "/alertes", "/personnes", "/aide", "/rien")
# An extract is made by a machine that may be busy.
LIMIT_MILLISECONDS = 120_000


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A running service with one commune that has entries: its home and its address."""
    home = tmp_path_factory.mktemp("console") / "var"
    with serving(home) as (address, process):
        assert command(home, "tenant", "add", "albi", "--name", "Ville d'Albi").returncode == DONE
        token = command(
            home,
            *("credential", "add", "--role", "module", "--tenant", "albi", "--category", "main-courante"),
            *("--source-prefix", "/openepm/", "--label", "essai"),
        ).stdout.strip()
        for _ in range(5):
            assert post_event(address, token) == 201
        yield home, address
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == DONE


def invitation(home: Path, address: str, login: str) -> str:
    """The address of an invitation of a référent, on this machine."""
    done = command(
        home,
        *("person", "invite", "--tenant", "albi", "--role", "referent", "--category", "main-courante"),
        *("--category", "journal", "--name", REFERENT.name, "--function", REFERENT.function, "--login", login),
    )
    assert done.returncode == DONE, done.stderr
    return address + "/console" + done.stdout.strip().split("/console", maxsplit=1)[1]


def sign_in(page: Page, address: str, link: str, login: str) -> None:
    """Accept an invitation and sign in, by what a person sees and types."""
    page.goto(link)
    secret = page.locator(".qr code").inner_text().replace(" ", "")
    page.get_by_label("Mot de passe", exact=True).fill(PASSWORD)
    page.get_by_label("Le même mot de passe").fill(PASSWORD)
    page.get_by_label("Le code à 6 chiffres que l’application affiche").fill(pyotp.TOTP(secret).now())
    page.get_by_role("button", name="Accepter l’invitation").click()
    page.wait_for_url(f"{address}/console/connexion*")
    page.get_by_label("Adresse électronique").fill(login)
    page.get_by_label("Mot de passe").fill(PASSWORD)
    # The code of the invitation is used: the telephone's clock may be a step ahead.
    page.get_by_label("Code à 6 chiffres").fill(pyotp.TOTP(secret).at(datetime.now(UTC), counter_offset=1))
    page.get_by_role("button", name="Se connecter").click()
    page.wait_for_url(f"{address}/console")


def watch(page: Page, address: str) -> list[str]:
    """Note errors of the console and requests that leave the site."""
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request",
        lambda request: None if request.url.startswith((address, "data:", "blob:")) else wrong.append(request.url),
    )
    return wrong


def test_a_clerk_gets_an_extract(place: tuple[Path, str], chromium: BrowserContext, tmp_path: Path) -> None:
    """From the invitation to a file that verifies; each page of the way has no fault that axe or the browser finds."""
    home, address = place
    page = chromium.new_page()
    page.set_default_timeout(LIMIT_MILLISECONDS)
    wrong = watch(page, address)
    link = invitation(home, address, "clerk@albi.example")
    page.goto(link)
    assert faults(page) == []
    sign_in(page, address, link, "clerk@albi.example")
    page.get_by_role("link", name="Demander un extrait").click()
    today = datetime.now(UTC).date()
    page.get_by_label("Du", exact=True).fill(f"{today - timedelta(days=1)}")
    page.get_by_label("Au (compris)").fill(f"{today}")
    page.get_by_label("Vérification de la licéité du traitement").check()
    page.get_by_text("Autorisation", exact=True).click()
    document = tmp_path / "réquisition.pdf"
    document.write_bytes(b"%PDF-")
    page.get_by_label("Le document (facultatif)").set_input_files(document)
    page.wait_for_function("document.getElementById('fingerprint').value.length === 64")
    page.get_by_label("Empreinte SHA-256 du document (facultatif)").fill("")
    page.get_by_role("button", name="Continuer").click()
    assert page.get_by_role("heading", level=1).inner_text() == "Vérifier la demande"
    assert faults(page) == []
    with page.expect_download(timeout=LIMIT_MILLISECONDS) as downloading:
        page.get_by_role("button", name="Établir l’extrait").click()
    extract = tmp_path / downloading.value.suggested_filename
    downloading.value.save_as(extract)
    done = subprocess.run(
        [VERIFY, str(extract), "--trust", str(home / "trust.pem"), "--lang", "fr"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == DONE, done.stdout
    page.goto(f"{address}/console/registre")
    assert REFERENT.name in page.locator(".register").inner_text()
    assert wrong == []
    page.get_by_role("button", name="Se déconnecter").click()
    page.wait_for_url(f"{address}/console/connexion")
    page.goto(f"{address}/console/registre")
    assert page.url == f"{address}/console/connexion"
    assert faults(page) == []
    page.close()


@some_or_every
def test_every_page_at_every_width(place: tuple[Path, str], chromium: BrowserContext, looks: Any) -> None:
    """In both themes, without a fault of accessibility, an error, a request elsewhere, or anything beside the page."""
    home, address = place
    page = chromium.new_page()
    page.set_default_timeout(LIMIT_MILLISECONDS)
    sign_in(page, address, invitation(home, address, "pages@albi.example"), "pages@albi.example")
    wrong = watch(page, address)
    for path in PAGES:
        page.goto(f"{address}/console{path}")
        check(page, looks, path)
    # A page that is not there is answered 404, which the browser tells.
    assert [text for text in wrong if "404" not in text] == []
    page.close()


def test_without_javascript(place: tuple[Path, str], chromium: BrowserContext) -> None:
    """Everything but the fingerprint of a document works; what needs a script is not shown."""
    home, address = place
    page = chromium.new_page()
    page.set_default_timeout(LIMIT_MILLISECONDS)
    page.route(re.compile(r"\.js"), lambda route: route.abort())
    sign_in(page, address, invitation(home, address, "noscript@albi.example"), "noscript@albi.example")
    page.goto(f"{address}/console/extrait")
    assert not page.get_by_label("Le document (facultatif)").is_visible()
    page.get_by_label("Autocontrôle").check()
    page.get_by_role("button", name="Continuer").click()
    with page.expect_download(timeout=LIMIT_MILLISECONDS) as downloading:
        page.get_by_role("button", name="Établir l’extrait").click()
    assert downloading.value.suggested_filename.endswith(".asice")
    listed = orjson.loads(command(home, "person", "list", "--json").stdout)
    assert [row["role"] for row in listed] == ["referent"] * len(listed)
    page.close()

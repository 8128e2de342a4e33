"""From the console to the page on the disk and back: a clerk with a browser alone keeps what is to be destroyed."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from ingest.console.sessions import COOKIE
from journal.core.times import format_time
from tests.browser.chromium import browser, page_address
from tests.browser.looks import check, some_or_every
from tests.support.console import signed_in
from tests.support.edge import CATEGORY, running_edge
from tests.support.handed import hand_over
from tests.support.refused_events import valid_event

if TYPE_CHECKING:
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

PASSPHRASE = "quatre mots sans rapport"
LIMIT_MILLISECONDS = 120_000


def make_key(directory: Path) -> None:
    """Make the commune's key and certificate in the page, and save both."""
    with browser() as context:
        page = context.new_page()
        page.set_default_timeout(LIMIT_MILLISECONDS)
        page.goto(page_address())
        page.get_by_text("Faire la clé de la commune").click()
        page.get_by_label("Nom de la commune").fill("Ville d’Albi")
        page.get_by_label("Phrase de passe", exact=True).fill(PASSPHRASE)
        page.get_by_label("La même, encore une fois").fill(PASSPHRASE)
        page.get_by_role("button", name="Faire la clé").click()
        for button, name in (("Enregistrer la clé", "cle.pem"), ("Enregistrer le certificat", "certificat.pem")):
            with page.expect_download() as downloading:
                page.get_by_role("button", name=button).click()
            downloading.value.save_as(directory / name)


def fetch_open_confirm(address: str, cookie: str, trust: Path, directory: Path, looks: Any) -> str:
    """Fetch a file at the console, open it in the page on the disk, confirm at the console; return the verdict."""
    with browser() as context:
        secure = address.replace("http://", "https://")
        context.add_cookies([{"name": COOKIE, "value": cookie, "url": secure, "secure": True}])
        console, reader = context.new_page(), context.new_page()
        for page in (console, reader):
            page.set_default_timeout(LIMIT_MILLISECONDS)
        console.goto(f"{address}/console")
        console.get_by_role("link", name="Vos remises sont à confirmer").click()
        check(console, looks, "to-confirm")
        with console.expect_download() as downloading:
            console.get_by_role("link", name="Télécharger").click()
        downloading.value.save_as(directory / downloading.value.suggested_filename)
        console.get_by_label("Code de confirmation").fill("0000 0000 0000 0000")
        console.get_by_role("button", name="Confirmer").click()
        check(console, looks, "refused")
        reader.goto(page_address())
        reader.set_input_files("#trust", trust)
        reader.get_by_text("Ouvrir une remise", exact=True).click()
        reader.set_input_files("#handover", directory / downloading.value.suggested_filename)
        reader.set_input_files("#key", directory / "cle.pem")
        reader.get_by_label("Phrase de passe de la clé").fill(PASSPHRASE)
        reader.get_by_role("button", name="Ouvrir la remise").click()
        verdict = reader.locator(".verdict").inner_text()
        console.get_by_label("Code de confirmation").fill(reader.locator("#code").inner_text())
        console.get_by_role("button", name="Confirmer").click()
        console.get_by_role("heading", name="Votre commune sait ouvrir ses remises").wait_for()
        check(console, looks, "confirmed")
        return verdict


@some_or_every
@pytest.mark.long
async def test_a_clerk_keeps_what_goes(postgres: EmbeddedPostgres, tmp_path: Path, looks: Any) -> None:
    """Key, certificate, file, verdict, code, confirmation: without a command but the host's registration."""
    await asyncio.to_thread(make_key, tmp_path)
    async with running_edge(postgres, tmp_path / "home") as edge:
        assert (await edge.post(valid_event(time=format_time(edge.clock.now())))).status == 201
        await hand_over(edge, (tmp_path / "certificat.pem").read_bytes())
        visitor, _ = await signed_in(edge, categories=(CATEGORY,))
        told = partial(fetch_open_confirm, f"http://127.0.0.1:{edge.port}", visitor.cookie)
        verdict = await asyncio.to_thread(told, edge.service.settings.trust_path, tmp_path, looks)
        assert "VÉRIFIÉ" in verdict.upper()
        (recipient,) = await edge.service.store.read_recipients()
        assert recipient.confirmed_at is not None

"""An extract of the running service: made twice over one seal it is the same, and Debian's programs accept it."""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from journal.core.entry import Compartment
from journal.extract.grounds import Authorisation
from journal.extract.layout import DIGESTS, DOCUMENT, NAMES, SIGNATURE
from journal.reading.plan import ExtractRequest
from journal.reading.stream import ExtractStream
from tests.support.world import CATEGORY, DAY, FIRST, PERSON, SERVICE, TENANT, World, make_event, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.needs("openssl", "pdfsig")]

KINDS: dict[str, dict[str, Any]] = {
    "unfiltered": {},
    "filtered": {"account": "agent-1", "authorisation": Authorisation("Parquet d'Albi", FIRST, "OP-1")},
    "auditor": {"disclose": False},
    "nothing disclosed": {"action": "erasure", "even_if_empty": True},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenClock:
    """A clock that does not move."""

    at: datetime

    def now(self) -> datetime:
        """Return always the same time."""
        return self.at

    def monotonic(self) -> float:
        """Return always the same reading."""
        return 0.0

    async def sleep(self, seconds: float) -> None:
        """Return at once: the time does not change."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Live two days and a morning."""
    async with new_world(postgres, tmp_path_factory.mktemp("world")) as made:
        service = made.service
        service.start(seal=False)
        for number in range(3):
            await made.travel_to(FIRST + number * DAY)
            await made.seal()
            await made.record(0, events=[make_event(made.clock.now(), subject=f"MC é {n}") for n in range(6)])
        yield made


async def made_twice(world: World, *, disclose: bool = True, **asked: Any) -> list[dict[str, bytes]]:
    """Return the members of two extracts over one seal, made at one instant."""
    request = ExtractRequest(
        from_day=FIRST,
        to_day=world.today,
        purpose="lawfulness",
        requester="Déléguée à la protection",
        person=PERSON,
        **asked,
    )
    compartment = Compartment(SERVICE, TENANT, CATEGORY)
    opened = await world.service.extraction.open(compartment, request, requested_by="test", disclose=disclose)
    clock = FrozenClock(at=world.clock.now() + timedelta(seconds=1))
    both = []
    for _ in range(2):
        stream = ExtractStream(
            plan=opened.plan,
            selection=opened._selection,
            purpose=opened._purpose,
            requester=opened._requester,
            authorisation=opened._authorisation,
            person=opened._person,
            even_if_empty=True,
            request=opened._request,
            reader=opened._reader,
            keyring=opened._keyring,
            signer=opened._signer,
            clock=clock,
            makers=opened._makers,
            folder=opened._folder,
        )
        whole = b"".join([chunk async for chunk in stream.chunks()])
        assert world.verify(whole).verdict
        with zipfile.ZipFile(BytesIO(whole)) as archive:
            assert archive.namelist() == list(NAMES)
            both.append({name: archive.read(name) for name in archive.namelist()})
    return both


def base_revision(document: bytes) -> bytes:
    """Return what was laid out, before the signature was added after it."""
    return document[: document.index(b"%%EOF") + 5]


def unsigned(document: bytes) -> bytes:
    """Return the whole document with its signature, in hexadecimal, taken out."""
    return re.sub(rb"/Contents <[0-9A-Fa-f]+>", b"", document)


def without_document(digests: bytes) -> bytes:
    """Return the digests but that of the document."""
    return re.sub(rb'(URI="extrait\.pdf">.*?<ds:DigestValue>)[^<]+', rb"\1", digests, flags=re.DOTALL)


@pytest.mark.parametrize("kind", KINDS)
async def test_made_twice_it_is_the_same(world: World, kind: str) -> None:
    """Over one seal, at one time: every member, byte for byte, the signatures apart, that inside the document too."""
    first, second = await made_twice(world, **KINDS[kind])
    for name in NAMES:
        if name not in (DOCUMENT, DIGESTS, SIGNATURE):
            assert first[name] == second[name], name
    assert base_revision(first[DOCUMENT]) == base_revision(second[DOCUMENT])
    assert len(base_revision(first[DOCUMENT])) > 10_000
    assert unsigned(first[DOCUMENT]) == unsigned(second[DOCUMENT])
    assert without_document(first[DIGESTS]) == without_document(second[DIGESTS])


@pytest.mark.parametrize("kind", ["unfiltered", *(pytest.param(kind, marks=pytest.mark.campaign) for kind in KINDS)])
async def test_debian_accepts_it(world: World, kind: str, tmp_path: Path) -> None:
    """`openssl cms -verify -cades` its signature, as LISEZMOI.txt tells it, and `pdfsig` the document's."""
    members, _ = await made_twice(world, **KINDS[kind])
    for name, content in members.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    told = re.search(r"openssl cms -verify.*?-out /dev/null", members["LISEZMOI.txt"].decode(), re.DOTALL)
    assert told is not None
    shutil.copy(world.settings.trust_path, tmp_path / "trust.pem")
    command = told[0].replace("-verify", "-verify -cades")
    result = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "CAdES Verification successful" in result.stderr
    answer = subprocess.run(["pdfsig", tmp_path / DOCUMENT], capture_output=True, text=True, check=False).stdout
    assert "Signature Validation: Signature is Valid." in answer
    assert "Total document signed" in answer

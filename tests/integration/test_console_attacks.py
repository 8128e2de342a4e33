"""The console attacked: from another site, with odd forms, with what was used or is over, by those who may see less."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING
from unicodedata import normalize
from urllib.parse import urlencode

import asyncpg
import orjson
import pytest
from argon2 import PasswordHasher
from structlog.testing import capture_logs

from ingest.access import SNAPSHOT_LIMIT_SECONDS
from ingest.console import pages
from ingest.console.sessions import COOKIE
from journal.admin import persons
from journal.admin.persons import People, RefusedError
from journal.core.errors import StoreError
from journal.core.times import day_of, format_day
from journal.keys.persons import Identity
from tests.support.console import PASSWORD, REFERENT, Visitor, invited, signed_in
from tests.support.edge import CATEGORY, OTHER_CATEGORY, TENANT, running_edge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres
    from tests.support.edge import Answer, RunningEdge

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOTH = (CATEGORY, OTHER_CATEGORY)
FORM = "application/x-www-form-urlencoded"


def somebody(name: str) -> Identity:
    """Somebody whom nobody else is in these tests."""
    return Identity(name=f"Agent {name}", function="agent", login=f"{name}@albi.example")


def is_page(answer: Answer) -> bool:
    """Tell whether an answer is a page in French, with what protects it, and nothing for programs."""
    policy = answer.headers.get("Content-Security-Policy", "")
    return (
        answer.headers["Content-Type"] == "text/html; charset=utf-8"
        and b'<html lang="fr">' in answer.body
        and b"urn:openepm-journal" not in answer.body
        and {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy.split("; "))
        and answer.headers["Referrer-Policy"] == "no-referrer"
        and answer.headers["Cache-Control"] == "no-store"
    )


async def send(
    visitor: Visitor, path: str, fields: dict[str, str] | bytes, method: str = "POST", **headers: str
) -> Answer:
    """Send a form as somebody signed in, with these headers alone."""
    body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
    given = {"Content_Type": FORM, "Cookie": f"{COOKIE}={visitor.cookie}"} | headers
    return await visitor.edge.ask(method, f"/console{path}", body=body, **given)


async def test_what_a_browser_is_given(edge: RunningEdge) -> None:
    """A cookie for this host, TLS and this site alone, made anew at each sign-in whatever was sent before."""
    visitor, _, invitation = await invited(edge, identity=somebody("cookie"))
    assert (await visitor.accept(invitation)).status == 303
    visitor.cookie = fixed = f"{'0' * 12}.1.1.{'0' * 32}.{'0' * 32}.{'0' * 64}"
    answer = await visitor.sign_in()
    name, _, rest = answer.headers["Set-Cookie"].partition("=")
    assert name == COOKIE
    assert name.startswith("__Host-")
    assert {part.strip() for part in rest.split(";")[1:]} == {"HttpOnly", "Path=/", "SameSite=Strict", "Secure"}
    assert fixed not in answer.headers["Set-Cookie"]
    assert is_page(await visitor.get(""))
    first, visitor.cookie = visitor.cookie, ""
    await visitor.forget_codes()
    assert (await visitor.sign_in()).status == 303
    assert visitor.cookie.split(".")[3] != first.split(".")[3]


async def test_where_forms_come_from(edge: RunningEdge) -> None:
    """Browsers that say nothing of the site say the origin: this one alone, and no form without its token."""
    visitor, _ = await signed_in(edge, identity=somebody("origin"))
    here = f"127.0.0.1:{edge.port}"
    fields = {"token": visitor.token, "category": CATEGORY}
    assert (await send(visitor, "/extrait", fields, Origin=f"http://{here}")).status == 422
    for origin in ("null", "http://evil.example", f"https://{here}", f"http://{here}.evil.example", "", here):
        assert (await send(visitor, "/extrait", fields, Origin=origin)).status == 400, origin
    assert (await send(visitor, "/extrait", fields)).status == 400
    for token in ("", "0" * 64, "é"):
        answer = await send(visitor, "/extrait", fields | {"token": token}, Sec_Fetch_Site="same-origin")
        assert (answer.status, is_page(answer)) == (400, True), token
    # A token is its session's.
    other, _ = await signed_in(edge, identity=somebody("origin-other"))
    mixed = await send(visitor, "/extrait", fields | {"token": other.token}, Sec_Fetch_Site="same-origin")
    assert mixed.status == 400


async def test_odd_requests(edge: RunningEdge) -> None:
    """Whatever is sent, the answer is a page in French that says what is wrong."""
    visitor, _ = await signed_in(edge, identity=somebody("odd"))
    asked = {"token": visitor.token, "category": CATEGORY, "purpose": "lawfulness", "last": "2026-01-01"}
    same: dict[str, str] = {"Sec_Fetch_Site": "same-origin"}
    forms: list[tuple[dict[str, str] | bytes, dict[str, str], int]] = [
        (b"token=" + visitor.token.encode() + b"&reference=%e9", same, 400),
        (b"token=" + visitor.token.encode() + b"&reference=\xe9", same, 400),
        (asked | {"reference": "x" * 17 * 1024}, same, 413),
        (asked | {f"f{number}": "" for number in range(80)}, same, 400),
        (asked, same | {"Content_Type": "multipart/form-data; boundary=x"}, 400),
        (asked | {"first": "0001-01-01"}, same, 422),
        (asked | {"first": "1969-12-31"}, same, 422),
        (asked | {"first": "2025-12-31", "action": "no-such"}, same, 404),
        (asked | {"first": "2025-12-31", "fingerprint": "0"}, same, 422),
        (asked | {"first": "2025-12-31", "category": "comptes"}, same, 404),
    ]
    for fields, headers, status in forms:
        answer = await send(visitor, "/extrait", fields, **headers)
        assert (answer.status, is_page(answer)) == (status, True), fields
    for method in ("HEAD", "OPTIONS", "PUT", "DELETE"):
        answer = await send(visitor, "/extrait", b"", method, **same)
        assert answer.status == 405
        assert method == "HEAD" or is_page(answer)
    for path, status in (
        ("/", 200),
        ("//", 404),
        ("/..%2f..%2fetc%2fpasswd", 404),
        ("/%00", 404),
        ("/fichiers/..%2fpages.py", 404),
        ("/fichiers/connexion.html", 404),
        ("/invitation/x", 404),
        ("/registre?nature=x", 404),
        ("/registre?depuis=0001-01-01", 200),
        ("/registre?depuis=%ff", 200),
        ("/sceau?categorie=comptes", 404),
        ("/attestation?jour=0001-01-01", 404),
        ("/attestation?jour=x", 404),
        ("/remises?x=1", 200),
        ("/remises/bordereau?nuit=x", 404),
        ("/remises/fichier?nom=..%2f..%2fetc%2fpasswd", 404),
        ("/extrait?first=%3Cscript%3E&account=%22%3E%3Cscript%3E", 200),
    ):
        answer = await visitor.get(path)
        assert (answer.status, is_page(answer)) == (status, True), path
        assert b"<script>" not in answer.body
    chunked = await edge.session.post(
        "/console/connexion", data=_in_pieces(), headers={"Content-Type": FORM, "Sec-Fetch-Site": "same-origin"}
    )
    assert (chunked.status, chunked.headers["Connection"]) == (411, "close")


async def _in_pieces() -> AsyncIterator[bytes]:
    yield b"login=x"


async def no_database(*, whole: bool) -> None:
    """Read nothing."""
    raise StoreError(f"no answer (whole: {whole})")


async def test_a_service_with_a_fault(edge: RunningEdge) -> None:
    """Where the database does not answer, or has not for long, nobody passes, and pages say so in French."""
    visitor, _, invitation = await invited(edge, identity=somebody("fault"))
    assert (await visitor.accept(invitation)).status == 303
    assert (await visitor.sign_in()).status == 303
    superuser = await asyncpg.connect(edge.superuser_dsn)
    await superuser.execute("ALTER FUNCTION journal.signed_out_at(text) RENAME TO signed_out_once")
    try:
        answer = await visitor.get("")
        assert (answer.status, is_page(answer)) == (503, True)
    finally:
        await superuser.execute("ALTER FUNCTION journal.signed_out_once(text) RENAME TO signed_out_at")
        await superuser.close()
    assert (await visitor.get("")).status == 200
    snapshot = edge.service.snapshot
    with pytest.MonkeyPatch.context() as patch:
        async with snapshot._refreshing:  # none is under way
            patch.setattr(snapshot, "_refresh", no_database)
            patch.setattr(snapshot, "_read_at", snapshot._read_at - SNAPSHOT_LIMIT_SECONDS - 60)
        answers = [await visitor.get(""), await Visitor(edge, login=visitor.login).sign_in(code="000000")]
    assert [(answer.status, is_page(answer)) for answer in answers] == [(503, True)] * 2


async def test_a_code_is_taken_once(edge: RunningEdge) -> None:
    """The one that accepted an invitation signs nobody in."""
    visitor, _, invitation = await invited(edge, identity=somebody("once"))
    opening = await visitor.open(invitation)
    fields = {"opening": opening, "password": PASSWORD, "repeated": PASSWORD, "code": visitor.code()}
    answer = await visitor.post(f"/invitation/{invitation}", fields)
    assert "code suivant" in (await visitor.get(answer.headers["Location"].removeprefix("/console"))).body.decode()
    assert (await visitor.sign_in(code=fields["code"])).status == 403
    assert (await visitor.sign_in()).status == 303


async def test_an_invitation_is_accepted_once(edge: RunningEdge) -> None:
    """By one of those who try at once; and whoever passes it on, and looks, does not know the second factor."""
    first, row, invitation = await invited(edge, identity=somebody("race"))
    second = Visitor(edge, login=first.login)
    openings = [await first.open(invitation), await second.open(invitation)]
    assert first.totp_secret != second.totp_secret
    # With the second factor that somebody else saw.
    fields = {"opening": openings[1], "password": PASSWORD, "repeated": PASSWORD}
    assert (await second.post(f"/invitation/{invitation}", fields | {"code": first.code()})).status == 422
    for opening in ("", "0", "é" * 32):
        answer = await first.post(f"/invitation/{invitation}", fields | {"opening": opening, "code": "000000"})
        assert (answer.status, is_page(answer)) == (400, True)
    first.used = 0
    answers = await asyncio.gather(
        *(
            visitor.post(f"/invitation/{invitation}", fields | {"opening": opening, "code": visitor.code()})
            for visitor, opening in zip((first, second), openings, strict=True)
        )
    )
    assert sorted(answer.status for answer in answers) in ([303, 404], [303, 422])
    # Of two processes that both hold an invitation for right, the database takes one.
    people, store = People(edge.service), edge.service.store
    row, _ = await people.invite_again(row.id)
    now = edge.service.snapshot.person(row.id)
    assert now is not None
    changed = [await store.set_person(now, sealed=b"x", invitation_hash=None, invited_until=None) for _ in range(2)]
    assert changed == [True, False]
    await people.revoke(row.id)


async def test_a_session_goes_by_what_was_chosen(edge: RunningEdge) -> None:
    """Who has somebody's cookie has nothing once the person has chosen another password and second factor."""
    visitor, row = await signed_in(edge, identity=somebody("chosen"))
    thief = Visitor(edge, cookie=visitor.cookie)
    _, secret = await People(edge.service).invite_again(row.id)
    again = Visitor(edge, login=visitor.login)
    await again.forget_codes()
    assert (await again.accept(f"{row.id}_{secret}")).status == 303
    assert (await again.sign_in()).status == 303
    assert (await thief.get("")).status == 303
    # Signing out ends the sessions of every browser, by the clock that they go by.
    thief.cookie = again.cookie
    assert (await again.post("/deconnexion", {})).status == 303
    assert (await thief.get("")).status == 303


async def test_how_often_a_login_is_tried(edge: RunningEdge) -> None:
    """However it is spelt: accents composed or not, upper or lower case, with spaces around."""
    login = "rené.crémière@albi.example"
    spelt = [login, normalize("NFD", login), login.upper(), f"  {login} ", normalize("NFD", login).upper()]
    answers = [await Visitor(edge, login=one).sign_in("faux", code="000000") for one in spelt]
    assert {answer.status for answer in answers} == {403}
    assert (await Visitor(edge, login=normalize("NFD", login)).sign_in("faux", code="000000")).status == 429


@pytest.fixture
def hashing_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let services hash passwords as the product does, which other tests do not."""
    monkeypatch.setattr(persons, "PasswordHasher", PasswordHasher)


@pytest.mark.usefixtures("hashing_as_it_is")
async def test_the_same_work(own_edge: RunningEdge) -> None:
    """An unknown login takes as much of the processor as a wrong password, from the first attempt on."""
    visitor, row = await signed_in(own_edge, identity=somebody("work"))
    people = People(own_edge.service)
    # What RFC 9106 recommends where memory is short.
    assert people.identity(row).password_hash.startswith("$argon2id$v=19$m=65536,t=3,p=4$")

    async def seconds(login: str) -> float:
        begun = time.process_time()
        with pytest.raises(RefusedError):
            await people.sign_in(login, "faux", "000000")
        return time.process_time() - begun

    unknown = [await seconds("nobody@albi.example") for _ in range(3)]
    wrong = [await seconds(visitor.login) for _ in range(3)]
    assert min(unknown) > min(wrong) / 2


async def test_what_each_role_reads_in_the_register(edge: RunningEdge) -> None:
    """Nothing about categories that are not the person's; accounts and subjects are content, for référents alone."""
    today = format_day(day_of(edge.clock.now()))
    asking, _ = await signed_in(edge, identity=somebody("asking"), categories=BOTH)
    for category in BOTH:
        asked = {
            "category": category,
            "first": today,
            "last": today,
            "purpose": "lawfulness",
            "reference": f"courrier-{category}",
            "subject": f"fiche-{category}",
            "account": f"agent-{category}",
            "issuer": "Parquet",
            "authorised_on": today,
            "authorisation": "2026/77",
        }
        assert (await asking.post("/extrait/fichier", asked)).status == 422
        assert "Aucune entrée ne correspond" in asking.seen[-1]
    days = [
        {"category": category, "count": 3, "day": f"2026-01-0{number}", "first_index": 0, "last_index": 2,
         "retention_days": 60, "seal": 4}
        for number, category in enumerate(BOTH, start=1)
    ]  # fmt: skip
    await edge.service.chronicle.write("purge", tenant=TENANT, subject=TENANT, data={"days": days})
    await edge.service.chronicle.write("setting", tenant=TENANT, subject=OTHER_CATEGORY, data={"source": "/secret"})
    await asking.get("/registre")
    for text in ("fiche-main-courante", "agent-ecrits", "courrier-ecrits", "/secret"):
        assert text in asking.seen[-1]
    assert 'href="/console/attestation?jour=2026-01-02"' in asking.seen[-1]
    for role in ("referent", "reader", "auditor"):
        visitor, _ = await signed_in(edge, role=role, identity=somebody(f"reads-{role}"))
        await visitor.get("/registre")
        seen = visitor.seen[-1]
        assert "courrier-main-courante" in seen
        assert 'href="/console/attestation?jour=2026-01-01"' in seen
        for text in ("courrier-ecrits", "fiche-ecrits", "agent-ecrits", "/secret", "2026-01-02"):
            assert text not in seen, (role, text)
        for text in ("fiche-main-courante", "agent-main-courante"):
            assert (text in seen) == (role == "referent"), (role, text)
        assert role == "referent" or "<dt>Filtre</dt><dd>compte, objet</dd>" in seen


async def test_a_referent_of_fewer_categories(edge: RunningEdge) -> None:
    """Is shown no invitation with which more could be seen than the référent may see; may end that access."""
    wide, row = await signed_in(edge, identity=somebody("wide"), categories=BOTH)
    narrow, _ = await signed_in(edge, identity=somebody("narrow"))
    await narrow.get("/personnes")
    assert "Nouvelle invitation pour Agent wide" not in narrow.seen[-1]
    assert (await narrow.post("/personnes/reinviter", {"person": row.id})).status == 404
    assert (await wide.get("")).status == 200
    fields = {"name": "Zoé", "function": "DPD", "login": "zoe.narrow@albi.example", "role": "reader"}
    assert (await narrow.post("/personnes/inviter", fields | {f"category-{OTHER_CATEGORY}": "1"})).status == 422
    assert (await narrow.post("/personnes/inviter", fields | {"role": "operator"})).status == 404
    assert (await narrow.post("/personnes/revoquer", {"person": row.id})).status == 200
    assert (await wide.get("")).status == 303


async def test_an_older_row_brought_back(own_edge: RunningEdge) -> None:
    """The password that was replaced signs nobody in, though the database has its row again."""
    visitor, row = await signed_in(own_edge, identity=REFERENT)
    kept = own_edge.service.snapshot.person(row.id)
    assert kept is not None
    await People(own_edge.service).invite_again(row.id)
    superuser = await asyncpg.connect(own_edge.superuser_dsn)
    await superuser.execute(
        "UPDATE journal.person SET sealed = $2, invitation_hash = NULL, invited_until = NULL WHERE id = $1",
        *(row.id, kept.sealed),
    )
    await superuser.close()
    await own_edge.service.snapshot.refresh(whole=True)
    assert own_edge.service.snapshot.is_suspended("person", row.id)
    await visitor.forget_codes()
    assert (await visitor.sign_in()).status == 403
    assert (await visitor.get("")).status == 303


async def test_what_the_logs_say(edge: RunningEdge) -> None:
    """No name, login, password, code, or secret of an invitation."""
    with capture_logs() as lines:
        visitor, row, invitation = await invited(edge, identity=somebody("logged"))
        await visitor.get(f"/invitation/{row.id}_{'A' * 43}")
        assert (await visitor.accept(invitation)).status == 303
        await visitor.sign_in("faux faux faux")
        await visitor.forget_codes()
        assert (await visitor.sign_in()).status == 303
        await visitor.get(f"/registre?nature={PASSWORD.split()[0]}")
        await visitor.post("/personnes/inviter", {"name": "Zoé Logged", "login": "x", "role": "reader"})
    told = repr(lines)
    assert "/console/invitation/{invitation}" in told
    for part in (
        "logged",
        "Logged",
        PASSWORD.split()[0],
        "faux",
        invitation.split("_", 1)[1],
        "A" * 43,
        visitor.cookie,
    ):
        assert part not in told, part


async def test_it_may_be_switched_off(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """Its pages are then no more there than any other that is not."""
    async with running_edge(postgres, tmp_path, console=False) as edge:
        answers = [await edge.ask("GET", path) for path in ("/console", "/console/connexion", "/nothing")]
        assert [answer.status for answer in answers] == [404] * 3
        assert len({orjson.dumps(answer.json | {"request_id": ""}) for answer in answers}) == 1


async def test_under_its_name_alone(
    postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a host name, the console is nowhere else; a network that tries too much takes nobody's attempts."""
    monkeypatch.setattr(pages, "ATTEMPTS", 1)
    # Slow enough that nothing comes back while the test attempts.
    monkeypatch.setattr(pages, "ATTEMPTS_PER_SECOND", pages.ATTEMPTS_PER_SECOND / 10)
    async with running_edge(postgres, tmp_path, console_host="console.example.fr") as edge:
        elsewhere = await edge.ask("GET", "/console/connexion", Host="evil.example")
        nothing = await edge.ask("GET", "/nothing", Host="evil.example")
        assert (elsewhere.status, elsewhere.json | {"request_id": ""}) == (404, nothing.json | {"request_id": ""})
        at = {"Host": "console.example.fr", "Sec_Fetch_Site": "same-origin", "Content_Type": FORM}
        assert is_page(await edge.ask("GET", "/console/connexion", Host="console.example.fr:8470"))

        visitor, _, invitation = await invited(edge, identity=REFERENT)
        visitor.host = "console.example.fr:8470"
        assert (await visitor.accept(invitation)).status == 303
        assert (await visitor.sign_in()).status == 303
        fields = {"name": "Zoé", "function": "DPD", "login": "zoe@albi.example", "role": "reader"}
        assert (await visitor.post("/personnes/inviter", fields | {f"category-{CATEGORY}": "1"})).status == 200
        assert "https://console.example.fr/console/invitation/" in visitor.seen[-1]

        async def attempt(login: str) -> int:
            body = urlencode({"login": login, "password": "faux", "code": "000000"}).encode()
            return (await edge.ask("POST", "/console/connexion", body=body, **at)).status

        assert [await attempt(f"{number}@x.example") for number in range(9)] == [403] * 9
        assert await attempt("anne@albi.example") == 429
        # A moment later, the network may try again.
        edge.clock.offset += timedelta(seconds=200)
        await edge.service.snapshot.refresh()
        assert await attempt("anne@albi.example") == 403

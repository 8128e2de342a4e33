"""The console over HTTP: who gets in, who sees which page, what is recorded, what is refused."""

from __future__ import annotations

import asyncio
import io
import re
import zipfile
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
import orjson
import pytest

from ingest.console import rendering, sign_in
from ingest.console.documents import OFFERED
from ingest.console.purges import Purges
from ingest.console.routes import ELSEWHERE, OPEN, PAGES
from ingest.console.sessions import IDLE_SECONDS, LIFE_SECONDS, Session
from journal.admin.administration import Administration
from journal.admin.persons import People
from journal.admin.recipient import read_recipient
from journal.choices import PERSON_ROLES
from journal.core.errors import OperatorError, StoreError
from journal.core.times import day_of, format_day, format_time
from journal.document.french import WEEKDAYS, french_day
from journal.extract.grounds import Authorisation
from journal.keys.persons import Identity
from journal.papers import signing
from journal.papers.making import Made, Papers
from retention.preservation import Hold, preserve
from tests.support.communes import commune
from tests.support.console import PASSWORD, REFERENT, Visitor, invited, signed_in
from tests.support.edge import CATEGORY, OTHER_TENANT, TENANT
from tests.support.pdf import words_of
from tests.support.refused_events import valid_event

if TYPE_CHECKING:
    from pathlib import Path

    from journal.core.entry import Entry
    from journal.database.persons import PersonRow
    from tests.support.edge import RunningEdge

pytestmark = pytest.mark.asyncio(loop_scope="module")


def somebody(name: str) -> Identity:
    """Somebody whom nobody else is in these tests."""
    return Identity(name=f"Agent {name}", function="agent", login=f"{name}@albi.example")


async def told(edge: RunningEdge, identifier: str, tenant: str = TENANT) -> list[str]:
    """What entries say that happened to a person, in order."""
    today = day_of(edge.clock.now())
    return [
        entry.event["data"].get("change", entry.event["data"].get("detail"))
        async for entry in edge.service.chronicle.entries(tenant, "person", since=today)
        if entry.event["subject"] == identifier
    ]


async def requests(edge: RunningEdge, row: PersonRow) -> list[Entry]:
    """What is recorded of a person's requests for extracts, in order."""
    today = day_of(edge.clock.now())
    found = [one async for one in edge.service.chronicle.entries(row.tenant, "extract", since=today)]
    return [one for one in found if one.submitted_by == row.id]


async def test_from_the_invitation_to_the_extract(edge: RunningEdge) -> None:
    """A référent accepts, signs in, asks, receives a container that says who asked, and is in the register."""
    await edge.post(valid_event(time=format_time(edge.clock.now())))
    visitor, row, invitation = await invited(edge, identity=somebody("first"))
    assert (await visitor.accept(invitation)).status == 303
    assert (await visitor.get(f"/invitation/{invitation}")).status == 404
    assert (await visitor.sign_in()).status == 303
    overview = visitor.seen[-1]
    assert "Tout est en ordre" in overview or "Le service a un défaut" in overview
    assert "consultation" in overview
    today = format_day(day_of(edge.clock.now()))
    asked = {"category": CATEGORY, "first": today, "last": today, "purpose": "lawfulness", "reference": "courrier 12"}
    shown = await visitor.post("/extrait", asked)
    assert shown.status == 200
    assert "courrier 12" in visitor.seen[-1]
    got = await visitor.post("/extrait/fichier", asked)
    assert got.status == 200, visitor.seen[-1]
    assert got.headers["Content-Type"] == "application/vnd.etsi.asic-e+zip"
    with zipfile.ZipFile(io.BytesIO(got.body)) as container:
        manifest = orjson.loads(container.read("manifest.json"))
    assert manifest["person"] == {"function": "agent", "name": "Agent first"}
    await visitor.get("/registre")
    register = visitor.seen[-1]
    assert "courrier 12" in register
    assert re.search(
        r"Personne : invitation</strong>.{0,200}<p>Par : l’hébergeur – sur : Agent first, agent", register, re.DOTALL
    )
    assert re.search(
        r"Demande d’extrait</strong>.{0,200}<p>Par : Agent first, agent – sur : « Main courante »", register, re.DOTALL
    )
    for raw in (row.id, today, "main-courante", "handover", "+00:00", "referent"):
        assert raw not in re.sub(r"<input[^>]*>", "", register.partition("<ol")[2]), raw
    assert await told(edge, row.id) == ["invited", "invitation accepted", "signed in"]


async def test_an_extract_that_shows_nothing(edge: RunningEdge) -> None:
    """A filter that matches nothing is said before anything is signed; a missing authorisation is asked for."""
    visitor, row = await signed_in(edge, identity=somebody("nothing"))
    today = format_day(day_of(edge.clock.now()))
    asked = {"category": CATEGORY, "first": today, "last": today, "purpose": "lawfulness", "subject": "fiche-absente"}
    refused = await visitor.post("/extrait", asked)
    assert refused.status == 422
    assert "Il faut une autorisation" in visitor.seen[-1]
    assert "ce refus est inscrit au registre" in visitor.seen[-1]
    denied = [one.event["data"] for one in await requests(edge, row) if one.event["data"].get("outcome") == "denied"]
    assert [(one["person"]["name"], one["filter"]) for one in denied] == [
        ("Agent nothing", {"subject": "fiche-absente"})
    ]
    incomplete = await visitor.post("/extrait", asked | {"purpose": ""})
    assert incomplete.status == 422
    assert "Rien n’a été demandé ni inscrit" in visitor.seen[-1]
    assert len(await requests(edge, row)) == 1
    asked |= {"issuer": "Parquet d'Albi", "authorised_on": today, "authorisation": "2026/77", "fingerprint": "ab" * 32}
    assert (await visitor.post("/extrait", asked)).status == 200
    assert (await visitor.post("/extrait/fichier", asked)).status == 422
    assert "Aucune entrée ne correspond" in visitor.seen[-1]
    assert "fiche <code>fiche-absente</code>" in visitor.seen[-1]
    _, request, outcome = await requests(edge, row)
    assert "outcome" not in request.event["data"]
    assert outcome.event["data"]["reason"].endswith(f"(request {request.index})")
    back = await visitor.post("/extrait", asked | {"back": "1"})
    assert back.status == 200
    assert len(await requests(edge, row)) == 3
    for kept in (*asked.values(), "Demander un extrait"):
        assert kept in visitor.seen[-1]
    await visitor.get("/registre")
    shown = visitor.seen[-1]
    assert f"Suite de la demande n° {request.index} : aucune entrée ne correspondait" in shown
    assert "sans fichier" in shown
    assert "Il faut une autorisation pour cette demande" in shown
    empty = await visitor.post("/extrait/fichier", asked | {"even_if_empty": "1"})
    assert empty.status == 200
    assert empty.body.startswith(b"PK")
    name = f"{TENANT}_{CATEGORY}_{format_day(day_of(edge.clock.now()) - timedelta(days=1))}_{today}-une-fiche_n"
    assert name in empty.headers["Content-Disposition"]
    auditor, _ = await signed_in(edge, role="auditor", identity=somebody("nothing-auditor"))
    plain = {name: asked[name] for name in ("category", "first", "last", "purpose")}
    assert "-preuve_n" in (await auditor.post("/extrait/fichier", plain)).headers["Content-Disposition"]


async def test_each_role_sees_its_pages(edge: RunningEdge) -> None:
    """The table of routes decides; what is another role's looks as if it did not exist, and nobody sees nothing."""
    nobody = Visitor(edge)
    visitors: dict[str, Visitor] = {}
    for role in PERSON_ROLES:
        place: dict[str, Any] = {"tenant": "_service", "categories": ()} if role == "operator" else {}
        visitors[role], _ = await signed_in(edge, role=role, identity=somebody(f"role-{role}"), **place)
    for page in PAGES:
        if page.path in {"/deconnexion", ELSEWHERE}:
            continue
        for role, visitor in visitors.items():
            await visitor.get("")
            answer = await (visitor.get(page.path) if page.method == "GET" else visitor.post(page.path, {}))
            is_absent = answer.status == 404 and "n’existe pas pour vous" in visitor.seen[-1]
            if role not in page.roles:
                assert is_absent, (role, page.path, answer.status)
            elif (
                page.path in {"", "/extrait", "/registre", "/remises", "/alertes", "/personnes", "/aide", "/trust.pem"}
                and page.method == "GET"
            ):
                assert answer.status == 200, (role, page.path)
        answer = await (nobody.get(page.path) if page.method == "GET" else nobody.post(page.path, {}))
        assert (answer.status, answer.headers["Location"]) == (303, "/console/connexion")
    missing = await visitors["reader"].get("/rien")
    assert missing.status == 404
    assert "n’existe pas pour vous" in visitors["reader"].seen[-1]
    assert len(OPEN) == 5


async def test_each_role_is_told_what_it_can_do(edge: RunningEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    """No page sends anybody to one that is not theirs, asks for what they cannot give, or hides whom to call."""
    said: dict[str, dict[str, str]] = {}
    settings = msgspec.structs.replace(edge.service.settings, notify_contact="Hébergeur, 05 00 00 00 00")
    monkeypatch.setattr(edge.service, "settings", settings)
    for role in ("referent", "reader", "auditor"):
        visitor, _ = await signed_in(edge, role=role, identity=somebody(f"told-{role}"))
        said[role] = {}
        for path in ("/aide", "/extrait", "/remises"):
            await visitor.get(path)
            said[role][path] = visitor.seen[-1]
        assert "Hébergeur, 05 00 00 00 00" in said[role]["/aide"]
        assert 'href="/verifier" download="verifier.html"' in said[role]["/aide"]
    assert {role for role in said if "un référent de votre commune le demande" in said[role]["/aide"]} == {"reader"}
    assert {role for role in said if "Une autorisation est nécessaire" in said[role]["/extrait"]} == {"referent"}
    assert "(Hébergeur, 05 00 00 00 00), et lisez-lui" in said["referent"]["/remises"]


async def test_what_comes_first_of_a_state() -> None:
    """All is in order where nothing is wrong; not where days were destroyed late, and a fault goes before that."""
    told = {"is_trial": False, "is_whole": True, "role": "reader", "sealed_at": None, "stamped": False}
    for is_ready, is_late, title, state in (
        (True, False, "Tout est en ordre", "good"),
        (True, True, "Des entrées ont été détruites en retard", "bad"),
        (False, True, "Le service a un défaut", "bad"),
    ):
        text = (
            rendering.page("etat.html", told | {"is_late": is_late, "is_ready": is_ready, "waiting_stamps": 0}).text
            or ""
        )
        assert f'state {state}"' in text
        assert f'<h2 id="etat">{title}</h2>' in text
        # A reader cannot have that paper.
        assert "Mesures de sécurité" not in text
    referent = told | {"is_late": False, "is_ready": True, "role": "referent", "waiting_stamps": 0}
    assert "Mesures de sécurité" in (rendering.page("etat.html", referent).text or "")


async def test_lines_do_not_break_before_a_sign(edge: RunningEdge) -> None:
    """French binds « : » to its word, and an hour to its minutes; what is typed into a field stays as it was typed."""
    visitor, _ = await signed_in(edge, identity=somebody("typed"))
    today = format_day(day_of(edge.clock.now()))
    asked = {"category": CATEGORY, "first": today, "last": today, "purpose": "", "reference": "Réf : 4 ; 10 h 30"}
    answer = (await visitor.post("/extrait", asked)).body.decode()
    assert 'value="Réf : 4 ; 10 h 30"' in answer
    assert "n’est pas complète\u00a0: voyez" in answer
    for path in ("/aide", "/remises", ""):
        shown = (await visitor.get(path)).body.decode()
        text = re.sub(r"(?s)<code.*?</code>|<[^>]*>", "|", shown)
        assert re.findall(r".{9} [:;?!»]|« .{9}|[0-9] h [0-9]", text) == [], path


async def test_what_is_told_by_mail_is_a_persons_choice(edge: RunningEdge) -> None:
    """Everybody of a commune chooses; the choice is kept encrypted, is an entry, and the session goes on."""
    visitor, row = await signed_in(edge, role="reader", identity=somebody("mails"))
    await visitor.get("/alertes")
    assert "rien ne vous est envoyé" in visitor.seen[-1]
    assert "L’hébergeur n’a pas réglé l’envoi de courriels" in visitor.seen[-1]
    chosen = await visitor.post("/alertes", {"kind-purge": "1", "kind-absent": "1", "seals": "month"})
    assert (chosen.status, chosen.headers["Location"]) == (303, "/console/alertes?garde=1")
    assert (await visitor.get("/alertes?garde=1")).status == 200
    shown = visitor.seen[-1]
    assert "Votre choix est gardé" in shown
    assert re.findall(r'id="([ms]-\w+)" [^>]+ checked', shown) == ["m-purge", "s-month"]
    now = edge.service.snapshot.person(row.id)
    assert now is not None
    assert People(edge.service).identity(now).mails == "purge seals-month"
    said = "alertes par courriel : destruction en retard ; sceaux : chaque mois"
    assert (await told(edge, row.id))[-1] == said
    await visitor.get("/registre")
    assert said in visitor.seen[-1]
    assert (await visitor.post("/alertes", {"seals": "hourly"})).status == 400
    referent, _ = await signed_in(edge, identity=somebody("mails-referent"))
    await referent.get("/alertes")
    assert "un référent reçoit tout" in referent.seen[-1]
    assert len(re.findall(r'id="m-\w+" [^>]+ checked', referent.seen[-1])) == 8


async def test_an_authoritys_request_is_shown_to_referents(own_edge: RunningEdge) -> None:
    """What was asked to be preserved, by whom and under which reference; other roles see none of its entries."""
    service = own_edge.service
    today = day_of(own_edge.clock.now())
    asked = Hold(
        tenant=TENANT,
        categories=(CATEGORY,),
        first_day=today,
        last_day=today,
        authorisation=Authorisation("Parquet d'Albi", today, "2026/4127"),
    )
    handovers = service.settings.handover_path
    handovers.mkdir()
    recipient = read_recipient(commune(end=own_edge.clock.now().replace(microsecond=0) + timedelta(days=9)).certificate)
    (held,) = await preserve(service, asked, recipient, handovers)
    assert held.path is not None
    for role, is_shown in (("referent", True), ("reader", False), ("auditor", False)):
        visitor, _ = await signed_in(own_edge, role=role, identity=somebody(f"hold-{role}"))
        assert (await visitor.get("/registre")).status == 200
        shown = visitor.seen[-1]
        assert [said in shown for said in ("2026/4127", "conservation demandée", "demande de conservation")] == [
            is_shown
        ] * 3


async def test_what_does_not_sign_in(edge: RunningEdge) -> None:
    """Unknown login, wrong password, wrong code, used code: one answer; five in a quarter of an hour, then none."""
    visitor, row, invitation = await invited(edge, identity=somebody("sign"))
    assert (await visitor.accept(invitation)).status == 303
    right = visitor.code()
    other = Visitor(edge, login="nobody@albi.example", totp_secret=visitor.totp_secret)
    answers = [
        await other.sign_in(code=right),
        await Visitor(edge, login=visitor.login, totp_secret=visitor.totp_secret).sign_in("faux", code=right),
        await Visitor(edge, login=visitor.login, totp_secret=visitor.totp_secret).sign_in(code="000000"),
    ]
    assert {(answer.status, answer.body) for answer in answers} == {(403, answers[0].body)}
    assert (await Visitor(edge, login=visitor.login.upper()).sign_in(code=right)).status == 303
    assert (await Visitor(edge, login=visitor.login).sign_in(code=right)).status == 403  # used
    for _ in range(2):
        await Visitor(edge, login=visitor.login).sign_in("faux", code="000000")
    blocked = await Visitor(edge, login=visitor.login).sign_in(code="000000")
    assert blocked.status == 429
    assert "Retry-After" in blocked.headers
    await asyncio.gather(*sign_in._BACKGROUND)
    assert "sign-in refused" in await told(edge, row.id)


async def test_a_session_that_is_over_or_forged(edge: RunningEdge) -> None:
    """Too long idle, too old, signed out, altered, of somebody revoked: the browser is sent to sign in."""
    visitor, row = await signed_in(edge, identity=somebody("session"))
    people = People(edge.service)
    now = edge.clock.now().timestamp()

    def cookie(session: Session) -> str:
        text = session.text
        return f"{text}.{people.mac(b'session ' + text.encode()).hex()}"

    base = Session.new(row, now)
    good = cookie(base)
    cases = {
        cookie(replace(base, seen_at=int(now - IDLE_SECONDS - 5))),
        cookie(replace(base, began_at=int(now - LIFE_SECONDS - 5))),
        good[:-1] + ("0" if good[-1] != "0" else "1"),
        good.replace(row.id, "0" * 12),
        "",
        "x",
    }
    visitor.cookie = good
    assert (await visitor.get("")).status == 200
    for text in cases:
        other = Visitor(edge, cookie=text)
        assert (await other.get("")).headers.get("Location") == "/console/connexion"
    kept = visitor.cookie
    assert (await visitor.post("/deconnexion", {})).status == 303
    assert (await Visitor(edge, cookie=kept).get("")).status == 303
    again, row = await signed_in(edge, identity=somebody("revoked"))
    await people.revoke(row.id)
    assert (await again.get("")).status == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "none"},
    ],
)
async def test_a_form_of_another_site(edge: RunningEdge, headers: dict[str, str]) -> None:
    """It is not taken, whoever is signed in; neither is one without the session's token."""
    visitor, _ = await signed_in(edge, identity=somebody(f"forms-{headers['Sec_Fetch_Site']}"))
    assert (await visitor.post("/personnes/inviter", {"role": "reader"}, **headers)).status == 400
    assert (await visitor.post("/personnes/inviter", {"role": "reader", "token": "0" * 64})).status == 400
    assert (await Visitor(edge, login="x@y").post("/connexion", {"login": "x@y"}, **headers)).status == 400


async def test_a_referent_invites_and_revokes(edge: RunningEdge) -> None:
    """Of the own commune alone; the address is shown once; who did it is in the entry."""
    visitor, _ = await signed_in(edge, identity=somebody("inviting"))
    fields = {
        "name": "<b>Zoé</b> \u202eMartin",
        "function": "DPD",
        "login": "zoe@albi.example",
        "role": "auditor",
        f"category-{CATEGORY}": "1",
    }
    assert (await visitor.post("/personnes/inviter", fields)).status == 422  # the direction of text is changed
    answer = await visitor.post("/personnes/inviter", fields | {"name": "<b>Zoé</b> Martin"})
    assert answer.status == 200
    assert b"&lt;b&gt;" in answer.body
    assert b"<b>Zo" not in answer.body
    address = visitor.seen[-1].split("/console/invitation/")[1].split("<")[0]
    person = edge.service.snapshot.person(address.split("_", maxsplit=1)[0])
    assert person is not None
    new = Visitor(edge, login="zoe@albi.example")
    assert (await new.accept(address)).status == 303
    assert (await new.sign_in()).status == 303
    assert (await visitor.post("/personnes/reinviter", {"person": person.id})).status == 200
    await visitor.get("/registre?nature=person")
    assert "Par : Agent inviting, agent – sur : <b>Zoé</b> Martin, DPD (rôle : auditeur)" in visitor.seen[-1]
    assert (await new.get("")).status == 303  # until the invitation is accepted again
    assert (await visitor.post("/personnes/revoquer", {"person": person.id})).status == 200
    await new.forget_codes()
    assert (await new.sign_in()).status == 403
    stranger, row = await signed_in(
        edge, identity=somebody("stranger"), tenant=OTHER_TENANT
    )  # fmt: skip
    assert (await visitor.post("/personnes/revoquer", {"person": row.id})).status == 404
    assert (await stranger.get("")).status == 200
    assert await told(edge, person.id) == ["invited", "invitation accepted", "signed in", "invited", "revoked"]


async def test_invitations_end(edge: RunningEdge) -> None:
    """After their hours, with a wrong secret, for another person; weak passwords and wrong codes are not taken."""
    people = People(edge.service)
    visitor, row, invitation = await invited(edge, identity=somebody("invited"))
    assert (await visitor.get(f"/invitation/{row.id}_{'A' * 43}")).status == 404
    page = await visitor.get(f"/invitation/{invitation}")
    assert page.status == 200
    opening = await visitor.open(invitation)
    weak = [("court", "court"), ("a" * 20, "a" * 20), (PASSWORD, PASSWORD + "x"), ("motdepasse12", "motdepasse12")]
    for password, repeated in weak:
        fields = {"opening": opening, "password": password, "repeated": repeated, "code": "000000"}
        assert (await visitor.post(f"/invitation/{invitation}", fields)).status == 422
    fields = {"opening": opening, "password": PASSWORD, "repeated": PASSWORD, "code": "000000"}
    assert (await visitor.post(f"/invitation/{invitation}", fields)).status == 422
    _, late = await people.invite_again(row.id, hours=0)
    assert (await visitor.get(f"/invitation/{row.id}_{late}")).status == 404
    with pytest.raises(OperatorError, match="signs in with this login"):
        await people.invite(tenant=TENANT, role="reader", categories=[CATEGORY], identity=somebody("INVITED"))
    with pytest.raises(OperatorError, match="operator"):
        await people.invite(tenant=TENANT, role="operator", categories=[CATEGORY], identity=somebody("op"))


async def test_rows_that_the_key_store_does_not_vouch_for(own_edge: RunningEdge) -> None:
    """A person forged, altered or given somebody's password in the database signs nobody in."""
    visitor, row = await signed_in(own_edge, identity=REFERENT)
    superuser = await asyncpg.connect(own_edge.superuser_dsn)
    await superuser.execute(
        "INSERT INTO journal.person (id, tenant, role, categories, login_key, sealed, created_at) SELECT "
        f"'0123456789ab', tenant, 'referent', categories, sha256(login_key), sealed, created_at FROM journal.person "
        f"WHERE id = '{row.id}'",
    )
    await superuser.execute(f"UPDATE journal.person SET role = 'auditor' WHERE id = '{row.id}'")
    await superuser.close()
    await own_edge.service.snapshot.refresh(whole=True)
    assert own_edge.service.snapshot.person("0123456789ab") is None
    kept = own_edge.service.snapshot.person(row.id)
    assert kept is None or kept.role == "referent"
    assert len([line for line in own_edge.service.snapshot.problems() if line.startswith("person ")]) == 2
    with pytest.raises(StoreError):
        await own_edge.service.store.revoke_person("0123456789ab")
    assert visitor.login
    assert timedelta(seconds=IDLE_SECONDS) < timedelta(seconds=LIFE_SECONDS)


async def test_nothing_personal_is_in_the_database(edge: RunningEdge) -> None:
    """Names, logins and passwords are in no row, in clear."""
    await signed_in(edge, identity=somebody("secret-marker"))
    rows = await edge.service.store.read_persons()
    text = repr(rows)
    for part in ("secret-marker", "Agent secret", PASSWORD, "argon2"):
        assert part not in text


async def test_documents(own_edge: RunningEdge, tmp_path: Path) -> None:
    """A référent gets every document, a lecteur those that are not the host's; each has the person's name entered."""
    edge = own_edge
    visitor, row = await signed_in(edge, identity=somebody("papers"))
    early = await visitor.post("/documents/fichier", {"document": "couverture"})
    assert early.status == 409
    assert "Aucun sceau ne couvre encore" in visitor.seen[-1]
    await edge.post(valid_event(time=format_time(edge.clock.now())))
    await edge.service.sealer.seal_open(even_if_still=True)
    await visitor.get("/documents")
    for offered in OFFERED:
        got = await visitor.post("/documents/fichier", {"document": offered.slug})
        assert got.status == 200, visitor.seen[-1]
        assert got.headers["Content-Disposition"] == f'attachment; filename="{offered.slug}-{TENANT}.pdf"'
        text = words_of(got.body, tmp_path / "got.pdf", order="-raw")
        assert "« Main courante »" in text[text.index("Étendue") :]
        assert "Comptes et droits" not in text
        entry = [one async for one in edge.service.chronicle.entries(TENANT, "setting", since=date.min)][-1]
        data = entry.event["data"]
        assert (data["change"], data["sha256"]) == ("document made", sha256(got.body).hexdigest())
        assert (data["person"]["name"], entry.submitted_by) == ("Agent papers", row.id)
    await visitor.get("/registre")
    assert "Réglage : document établi" in visitor.seen[-1]
    assert "Agent papers" in visitor.seen[-1]
    reader, _ = await signed_in(edge, role="reader", identity=somebody("papers-reader"))
    await reader.get("/documents")
    shown = {offered.slug for offered in OFFERED if f'value="{offered.slug}"' in reader.seen[-1]}
    assert shown == {"couverture", "notice", "duree"}
    for slug in ("registre", "mesures", "../x", ""):
        assert (await reader.post("/documents/fichier", {"document": slug})).status == 404
    assert (await reader.post("/documents/fichier", {"document": "notice", "token": "0" * 64})).status == 400
    auditor, _ = await signed_in(edge, role="auditor", identity=somebody("papers-auditor"))
    assert (await auditor.get("/documents")).status == 404


async def test_documents_take_turns(edge: RunningEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is made by a process of its own: a commune has two made at once, some wait, and the rest come back later."""
    visitor, _ = await signed_in(edge, identity=somebody("turns"))
    await visitor.get("/documents")
    made = most = 0
    refused = asyncio.Event()

    async def issue(*_: object, **__: object) -> Made:
        nonlocal made, most
        made += 1
        most = max(most, made)
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await refused.wait()
        made -= 1
        return Made(document=b"%PDF", index=0, journal=TENANT)

    async def ask() -> int:
        status = (await visitor.post("/documents/fichier", {"document": "notice"})).status
        if status == 503:
            refused.set()
        return status

    monkeypatch.setattr(Papers, "issue", issue)
    statuses = await asyncio.gather(*(ask() for _ in range(9)))
    assert most == 2
    assert sorted(set(statuses)) == [200, 503]


async def test_a_contract_that_has_ended(own_edge: RunningEdge) -> None:
    """Who gives login, password and code is told so; who does not is told what everybody else is."""
    visitor, _ = await signed_in(own_edge, identity=somebody("ended"))
    administration = Administration(own_edge.service)
    await administration.close_tenant(TENANT)
    assert (await visitor.get("")).status == 303
    await visitor.forget_codes()
    assert (await visitor.sign_in("faux")).status == 403
    assert "n’est pas le bon" in visitor.seen[-1]
    assert (await visitor.sign_in()).status == 403
    assert "le contrat de votre commune a pris fin" in visitor.seen[-1]
    assert "n’est pas le bon" not in visitor.seen[-1]


async def test_what_was_destroyed_is_read_once(own_edge: RunningEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second view reads no entry, a new one alone is read; on another day, or of a shorter journal, all are again."""
    service = own_edge.service
    asked: list[int] = []
    read_entries = service.store.read_entries

    async def counted(*arguments: Any) -> Any:
        rows = await read_entries(*arguments)
        asked.append(len(rows))
        return rows

    monkeypatch.setattr(service.store, "read_entries", counted)

    async def destroy(day: date) -> int:
        told = {"category": CATEGORY, "count": 1, "day": format_day(day), "retention_days": 60}
        receipt = await service.chronicle.write("purge", tenant=TENANT, subject=TENANT, data={"days": [told]})
        return receipt.index + 1

    purges, today = Purges(service), day_of(own_edge.clock.now())
    gone = [today - timedelta(days=back) for back in (62, 61)]
    first, second = await destroy(gone[0]), await destroy(gone[1])
    for size, rows, days in ((first, second, gone), (second, 0, gone), (first - 1, second, gone)):
        asked.clear()
        found = await purges.of(TENANT, size)
        assert [purge.day for purge in found[CATEGORY]] == days
        assert sum(asked) == rows
    third = await destroy(today)
    asked.clear()
    assert [purge.late for purge in (await purges.of(TENANT, third))[CATEGORY]][-1] == timedelta(0)
    assert asked == [1]
    asked.clear()
    monkeypatch.setattr(purges, "_first_day", today - timedelta(days=1))
    await purges.of(TENANT, third)
    assert sum(asked) == third


async def test_what_was_destroyed_and_when(own_edge: RunningEdge) -> None:
    """Days that hold entries, a late destruction, days of which nothing is left; what the help and hand-overs say."""
    edge = own_edge
    await edge.post(valid_event(time=format_time(edge.clock.now())))
    visitor, _ = await signed_in(edge, identity=somebody("destroyed"))
    today = day_of(edge.clock.now())
    await visitor.get("")
    main = visitor.seen[-1].partition("Main courante</h2>")[2].partition("</section>")[0]
    assert f"les entrées du {WEEKDAYS[today.weekday()]} {french_day(today)}, au plus tard le" in main
    assert "aucune encore" in main
    assert "Les nombres, jour par jour" in main
    assert "1 au plus en un jour" in main
    assert "Installation d’essai" not in visitor.seen[-1]
    gone = today - timedelta(days=63)
    told = {"category": CATEGORY, "count": 12, "day": format_day(gone), "first_index": 0, "last_index": 11, "seal": 1}
    days = [told | {"retention_days": 60}]
    await edge.service.chronicle.write("purge", tenant=TENANT, subject=TENANT, data={"days": days})
    await visitor.get("")
    main = visitor.seen[-1].partition("Main courante</h2>")[2].partition("</section>")[0]
    assert f"12 entrées du {WEEKDAYS[gone.weekday()]} {french_day(gone)}, détruites le" in main
    assert "Destruction en retard" in main
    assert "3 jours après leur terme" in main
    assert "Tout est en ordre" not in visitor.seen[-1]
    await visitor.get("/registre?nature=purge")
    register = visitor.seen[-1]
    assert f"Attestation de la destruction des entrées du {french_day(gone)}" in register
    assert f"entrées du {french_day(gone)}, « Main courante » : 12 (n° 0 à 11)" in re.sub("\\s", " ", register)
    asked = {"category": CATEGORY, "last": format_day(today), "purpose": "lawfulness"}
    for first, last, is_told in ((gone, today, "Il ne peut rien y avoir avant"), (gone, gone, "Rien de ces jours")):
        await visitor.post("/extrait", asked | {"first": format_day(first), "last": format_day(last)})
        assert is_told in visitor.seen[-1]
    await visitor.get("/personnes")
    assert "inscrit des accès" in visitor.seen[-1]
    await visitor.get("/aide")
    trusted = signing.anchor(edge.service)
    assert trusted is not None
    for said in (rendering.in_fours(trusted.sha256.hex()), "/journal-verify.pyz", "certutil -hashfile", "Get-FileHash"):
        assert said in visitor.seen[-1]
    await visitor.get("/remises")
    for word in ("Faire la clé de la commune", "Garder le journal plus longtemps"):
        assert word in visitor.seen[-1]
        assert word in (await edge.ask("GET", "/verifier")).body.decode()

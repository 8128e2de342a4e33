"""A person at the console, without a browser: keeps the cookie, sends forms as the pages make them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import asyncpg
import pyotp

from ingest.console.sessions import COOKIE
from journal.admin.persons import STEP_SECONDS, People
from journal.keys.persons import Identity

if TYPE_CHECKING:
    from journal.database.persons import PersonRow
    from tests.support.edge import Answer, RunningEdge

PASSWORD = "quatre mots sans rapport"
REFERENT = Identity(name="Anne Martin", function="cheffe de service", login="a.martin@albi.example")
_SECRET = re.compile(r"Clé\s: <code>([A-Z2-7 ]+)</code>")
_OPENING = re.compile(r'name="opening" value="([0-9a-f]{32})"')


@dataclass(slots=True)
class Visitor:
    """Somebody at a browser: signs in, follows links, sends forms."""

    edge: RunningEdge
    login: str = ""
    totp_secret: str = ""
    cookie: str = ""
    token: str = ""
    seen: list[str] = field(default_factory=list)
    used: int = 0
    host: str = ""

    async def get(self, path: str, **headers: str) -> Answer:
        """Open a page."""
        return await self._ask("GET", path, None, headers)

    async def post(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        """Send a form, with the token of the last page seen unless one is given."""
        sent = {"token": self.token, **fields} if self.token else fields
        given = {"Sec_Fetch_Site": "same-origin", "Content_Type": "application/x-www-form-urlencoded", **headers}
        return await self._ask("POST", path, urlencode(sent).encode(), given)

    async def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        if self.cookie:
            headers = {**headers, "Cookie": f"{COOKIE}={self.cookie}"}
        # A machine may be busy.
        headers = {"Prefer": "wait=30", **headers}
        if self.host:
            headers = {**headers, "Host": self.host}
        answer = await self.edge.ask(method, f"/console{path}", body=body, **headers)
        for name, given in answer.headers.items():
            if name == "Set-Cookie" and given.startswith(f"{COOKIE}="):
                self.cookie = given.split("=", 1)[1].split(";")[0].strip('"')
        if token := re.search(rb'name="token" value="([0-9a-f]{64})"', answer.body):
            self.token = token[1].decode()
        # As it is read: where lines may break is the browser's.
        self.seen.append(unescape(answer.body.decode(errors="replace")).replace("\N{NO-BREAK SPACE}", " "))
        return answer

    def code(self) -> str:
        """Return a code that was not used: the telephone's clock may be a step off. There are two in a step."""
        now = int(self.edge.clock.now().timestamp()) // STEP_SECONDS
        self.used = next(step for step in (now, now + 1) if step > self.used)
        return pyotp.TOTP(self.totp_secret).generate_otp(self.used)

    async def forget_codes(self) -> None:
        """Have the service forget which codes were used, as when a minute has passed."""
        superuser = await asyncpg.connect(self.edge.superuser_dsn)
        await superuser.execute("UPDATE journal.person_code SET step = 0")
        await superuser.close()
        self.used = 0

    async def accept(self, invitation: str, password: str = PASSWORD) -> Answer:
        """Accept an invitation (its part of the address)."""
        fields = {"opening": await self.open(invitation), "password": password, "repeated": password}
        return await self.post(f"/invitation/{invitation}", fields | {"code": self.code()})

    async def open(self, invitation: str) -> str:
        """Open an invitation and take a picture of its second factor; return what its form sends of it."""
        page = (await self.get(f"/invitation/{invitation}")).body.decode()
        found, opening = _SECRET.search(page), _OPENING.search(page)
        assert found, page
        assert opening
        self.totp_secret = found[1].replace(" ", "")
        return opening[1]

    async def sign_in(self, password: str = PASSWORD, code: str | None = None) -> Answer:
        """Sign in, with a code that was not used yet."""
        fields = {"login": self.login, "password": password, "code": code or self.code()}
        answer = await self.post("/connexion", fields)
        if answer.status == 303:
            await self.get("")
        return answer


async def invited(
    edge: RunningEdge,
    *,
    role: str = "referent",
    tenant: str = "albi",
    categories: tuple[str, ...] = ("main-courante",),
    identity: Identity = REFERENT,
) -> tuple[Visitor, PersonRow, str]:
    """Invite a person; return the visitor, the row, and the invitation's part of the address."""
    people = People(edge.service)
    row, secret = await people.invite(tenant=tenant, role=role, categories=categories, identity=identity)
    return Visitor(edge, login=identity.login), row, f"{row.id}_{secret}"


async def signed_in(edge: RunningEdge, **whom: object) -> tuple[Visitor, PersonRow]:
    """Return a visitor who has accepted an invitation and signed in."""
    visitor, row, invitation = await invited(edge, **whom)  # type: ignore[arg-type]
    accepted = await visitor.accept(invitation)
    assert accepted.status == 303, accepted.body.decode()
    answer = await visitor.sign_in()
    assert answer.status == 303, answer.body.decode()
    return visitor, edge.service.snapshot.person(row.id) or row

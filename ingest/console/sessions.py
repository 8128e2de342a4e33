"""What a browser keeps of a signed-in person: a cookie with a MAC. No row of the database stands for a session.

A session ends after IDLE_SECONDS without a request, LIFE_SECONDS after signing in, when the person signs out, within a
second of being revoked, and when password and second factor are chosen anew. It is made anew at each sign-in, from
nothing that the browser sent (no fixation).
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from journal.database.persons import PersonRow

# The prefix binds it to this host, this path and TLS (RFC 6265bis section 4.1.3.2); browsers take it on localhost too.
COOKIE = "__Host-openepm-journal"
IDLE_SECONDS = 20 * 60
LIFE_SECONDS = 4 * 60 * 60
_TEXT = re.compile(
    r"([0-9a-f]{12})\.([0-9]{1,12})\.([0-9]{1,12})\.([0-9a-f]{32})\.([0-9a-f]{32})\.([0-9a-f]{64})"
).fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Who signed in when (seconds since 1970), and when the browser was last heard of.

    `chosen` tells which choice of password and second factor the person signed in with.
    """

    person: str
    began_at: int
    seen_at: int
    nonce: str
    chosen: str

    @classmethod
    def new(cls, row: PersonRow, now: float) -> Session:
        """Return the session of somebody who has just signed in."""
        return cls(person=row.id, began_at=int(now), seen_at=int(now), nonce=secrets.token_hex(16), chosen=_chosen(row))

    def is_of(self, row: PersonRow) -> bool:
        """Tell whether the person still has the password and the second factor of this session."""
        return self.person == row.id and self.chosen == _chosen(row)

    def after_choice(self, row: PersonRow) -> Session:
        """Return the same session of a person who has just changed what is kept with the password."""
        return replace(self, chosen=_chosen(row))

    @property
    def text(self) -> str:
        """Return what the MAC covers."""
        return f"{self.person}.{self.began_at}.{self.seen_at}.{self.nonce}.{self.chosen}"

    def give(self, response: web.StreamResponse, mac: Callable[[bytes], bytes], now: float) -> None:
        """Have the browser keep the session, seen now; no script of a page can read it."""
        seen = replace(self, seen_at=int(now))
        value = f"{seen.text}.{mac(b'session ' + seen.text.encode()).hex()}"
        response.set_cookie(COOKIE, value, path="/", httponly=True, secure=True, samesite="Strict")

    def form_token(self, mac: Callable[[bytes], bytes]) -> str:
        """Return what a form of this session must send, so that no other site can have it sent."""
        return mac(f"form {self.person} {self.began_at} {self.nonce}".encode()).hex()


def read_session(request: web.Request, mac: Callable[[bytes], bytes], now: float) -> Session | None:
    """Return the session of a request, if it is one that was given here and is not over."""
    match = _TEXT(request.cookies.get(COOKIE, ""))
    if match is None:
        return None
    session = Session(person=match[1], began_at=int(match[2]), seen_at=int(match[3]), nonce=match[4], chosen=match[5])
    if not hmac.compare_digest(mac(b"session " + session.text.encode()).hex(), match[6]):
        return None
    is_over = now - session.seen_at > IDLE_SECONDS or now - session.began_at > LIFE_SECONDS
    return None if is_over else session


def _chosen(row: PersonRow) -> str:
    return sha256(row.sealed).hexdigest()[:32]


def forget(response: web.StreamResponse) -> None:
    """Have the browser forget the session."""
    response.del_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="Strict")

"""Signing in and out, and accepting an invitation: the pages of nobody yet."""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import TYPE_CHECKING

import pyotp
import segno
import structlog
from aiohttp import hdrs, web

from ingest.console import sessions
from ingest.console.pages import ROOT, finish, read_form
from ingest.console.rendering import FILES, HEADERS, page, read_file
from ingest.console.sessions import Session
from ingest.problems import BAD_REQUEST, ProblemError
from journal.admin.persons import RefusedError
from journal.core.errors import JournalError

if TYPE_CHECKING:
    from ingest.console.pages import Console, Visit
    from journal.database.persons import PersonRow

log = structlog.get_logger()

OPENING_BYTES = 16
_OPENING = re.compile(f"[0-9a-f]{{{2 * OPENING_BYTES}}}").fullmatch
_INVITATION = re.compile(r"([0-9a-f]{12})_([A-Za-z0-9_-]{43})").fullmatch
# What is still being recorded of refused attempts.
_BACKGROUND: set[asyncio.Task[None]] = set()


async def get_sign_in(console: Console, request: web.Request) -> web.StreamResponse:
    """Show the form to sign in."""
    return _sign_in_page(console, reason="", is_welcome="bienvenue" in request.query)


async def post_sign_in(console: Console, request: web.Request) -> web.StreamResponse:
    """Sign in; what was wrong is not told."""
    try:
        fields = await read_form(console.edge, request, "")
    except ProblemError as problem:
        return finish(_sign_in_page(console, reason="form", status=problem.kind.status), problem)
    login = fields.get("login", "")
    try:
        # The network first: one that tries too much does not take the attempts of those whose logins it tries.
        wait = console.attempts_from.wait_seconds(console.edge.proxies.address(request))
        wait = wait or console.attempts.wait_seconds(console.people.login_key(login).hex())
        if wait:
            return _sign_in_page(console, reason="attempts", status=429, headers={"Retry-After": str(int(wait) + 1)})
        await console.look()
        console.check_snapshot()
        row = await console.people.sign_in(login, fields.get("password", ""), fields.get("code", ""))
    except RefusedError as refused:
        if refused.row is not None:
            # Not before the answer: how long it takes must not tell that there is such a person.
            _tell_later(console, refused.row)
        return _sign_in_page(console, reason=refused.reason, status=403)
    except JournalError as error:
        log.warning("nobody can sign in", kind=type(error).__name__)
        return _sign_in_page(console, reason="unavailable", status=503)
    response = _see_other(ROOT)
    Session.new(row, console.now()).give(response, console.people.mac, console.now())
    return response


def _tell_later(console: Console, row: PersonRow) -> None:
    task = asyncio.create_task(_tell_refused(console, row))
    _BACKGROUND.add(task)
    task.add_done_callback(_BACKGROUND.discard)


async def _tell_refused(console: Console, row: PersonRow) -> None:
    try:
        await console.people.tell_refused(row)
    except JournalError as error:
        log.warning("a refused sign-in was not recorded", kind=type(error).__name__)


async def post_sign_out(seen: Visit, _: dict[str, str]) -> web.StreamResponse:
    """Sign out, everywhere."""
    await seen.console.people.sign_out(seen.row)
    response = _see_other(f"{ROOT}/connexion")
    sessions.forget(response)
    return response


async def get_invitation(console: Console, request: web.Request) -> web.StreamResponse:
    """Show an invitation: password and second factor to choose."""
    if _invited(console, request) is None:
        await console.look()
    return _invitation_page(console, request)


async def post_invitation(console: Console, request: web.Request) -> web.StreamResponse:
    """Accept an invitation."""
    found = _invited(console, request)
    if found is None:
        return _invitation_page(console, request)
    row, secret = found
    opening = ""
    try:
        fields = await read_form(console.edge, request, "")
        opening = _opening(fields)
        if console.attempts.wait_seconds(f"invitation {row.id}"):
            return _invitation_page(console, request, reason="attempts", status=429, opening=opening)
        await console.people.accept(
            row,
            secret,
            opening=opening,
            password=fields.get("password", ""),
            repeated=fields.get("repeated", ""),
            code=fields.get("code", ""),
        )
    except RefusedError as refused:
        return _invitation_page(console, request, reason=refused.reason, status=422, opening=opening)
    except ProblemError as problem:
        return finish(_invitation_page(console, request, reason="form", status=problem.kind.status), problem)
    except JournalError as error:
        log.warning("an invitation cannot be accepted", kind=type(error).__name__)
        return _invitation_page(console, request, reason="unavailable", status=503, opening=opening)
    return _see_other(f"{ROOT}/connexion?bienvenue=1")


def _opening(fields: dict[str, str]) -> str:
    if not _OPENING(opening := fields.get("opening", "")):
        raise ProblemError(BAD_REQUEST, "")
    return opening


def _invited(console: Console, request: web.Request) -> tuple[PersonRow, str] | None:
    match = _INVITATION(request.match_info["invitation"])
    row = console.people.invited(match[1], match[2]) if match is not None else None
    return None if match is None or row is None else (row, match[2])


def _invitation_page(
    console: Console, request: web.Request, *, reason: str = "", status: int = 200, opening: str = ""
) -> web.Response:
    found = _invited(console, request)
    service = console.edge.service
    if found is None:
        return page("invitation_finie.html", {"service": service.name}, status=404)
    row, secret = found
    identity = console.people.identity(row)
    opening = opening or secrets.token_hex(OPENING_BYTES)
    totp_secret = console.people.proposed_secret(row, secret, opening)
    uri = pyotp.TOTP(totp_secret).provisioning_uri(name=identity.login, issuer_name=service.name)
    tenant = service.snapshot.tenant(row.tenant)
    values = {
        "commune": tenant.name if tenant is not None else "",
        "drawn": segno.make(uri, error="m").svg_data_uri(scale=4, border=3, light="#ffffff"),
        "identity": identity,
        "opening": opening,
        "reason": reason,
        "role": row.role,
        "service": service.name,
        "spelt": " ".join(totp_secret[at : at + 4] for at in range(0, len(totp_secret), 4)),
        "until": row.invited_until,
    }
    return page("invitation.html", values, status=status)


def _sign_in_page(
    console: Console,
    *,
    reason: str,
    is_welcome: bool = False,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> web.Response:
    values = {"is_welcome": is_welcome, "reason": reason, "service": console.edge.service.name}
    response = page("connexion.html", values, status=status)
    response.headers.update(headers or {})
    return response


def _see_other(place: str) -> web.Response:
    return web.Response(status=303, headers={hdrs.LOCATION: place, **HEADERS})


async def get_file(_: Console, request: web.Request) -> web.StreamResponse:
    """Answer the style sheet or the script of the pages."""
    name = request.match_info["name"]
    if name not in FILES:
        raise web.HTTPNotFound
    return web.Response(body=read_file(name), content_type=FILES[name], charset="utf-8")

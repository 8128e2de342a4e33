"""What nobody's words may do to a mail: neither a header more, nor an address more, nor none at all."""

from __future__ import annotations

from datetime import UTC, date, datetime
from email import message_from_bytes

import pytest

from journal.admin.persons import LOGIN
from journal.notices.letters import Sender, seals

SENDER = Sender(service="journal.test", console="journal.test", address="journal@hebergeur.example")


def sent(to: str, commune: str) -> bytes:
    """Return a mail as it is sent."""
    at = datetime(2026, 3, 2, tzinfo=UTC)
    message = seals(SENDER, to, commune=commune, at=at, day=date(2026, 3, 2), files={"sceau.json": b"{}"})
    assert [address.addr_spec for address in message["To"].addresses] == [to]
    return message.as_bytes()


@pytest.mark.parametrize(
    "commune",
    ["Albi", "=?utf-8?q?=0aBcc:_x?=", "=?utf-8?b?CkJjYzogeA==?=", "a" * 256, "=\u0301?", "%0d%0aBcc: x", "= ?q"],
)
def test_a_subject_is_one_header(commune: str) -> None:
    """Whatever the commune is called."""
    names = message_from_bytes(sent("a@albi.example", commune)).keys()
    assert sorted(names) == sorted(message_from_bytes(sent("a@albi.example", "Albi")).keys())


@pytest.mark.parametrize("login", ["a.martin@albi.example", "é.o'hara+x@mairie-albi.fr", "a..b@x", "`&=@é"])
def test_a_login_is_one_address(login: str) -> None:
    """Of any that may be given to a person, a mail can be made."""
    assert LOGIN(login)
    assert sent(login, "Albi")


@pytest.mark.parametrize(
    "login",
    [
        "root,a@albi.example",
        "a@b,c",
        "<a@b",
        "a@b>",
        "(a@b",
        'a"@b',
        "a:b@c;",
        "a@[b",
        "=?utf-8?q?=0ax?=@b",
        "a@b.",
        "a",
    ],
)
def test_what_is_no_login(login: str) -> None:
    """More than an address, or what the mail library stumbles over."""
    assert not LOGIN(login)

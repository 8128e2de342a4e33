"""The mails to persons of communes, in French: what happened, what it means, what to do, whom to call.

No name, account, reference or source is in them: a mailbox is outside the journal's protection, and nobody purges it.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime
from hashlib import sha256
from textwrap import wrap
from typing import TYPE_CHECKING, Final

from journal.core.paris import paris_time
from journal.core.times import format_time
from journal.document.french import french_day, printable, typeset
from journal.notices.channels import subject_of
from journal.notices.kinds import HOST_AND_OFFICER, KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from journal.notices.news import News

TOLD_AT_ONCE: Final = 20
WIDTH: Final = 76
UNKNOWN_CONTACT: Final = "votre hébergeur, au numéro que donne le contrat"
_OFFICER: Final = "puis le délégué à la protection des données de la commune"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who writes: the service, its console's host name, the address of the mail, whom to call at the host."""

    service: str
    console: str
    address: str
    contact: str = UNKNOWN_CONTACT

    def page(self, path: str) -> str:
        """Return the address of a page of the console."""
        return f"https://{self.console}/console{path}"


def alert(
    sender: Sender, to: str, *, commune: str, at: datetime, news: Sequence[News], labels: Mapping[str, str]
) -> EmailMessage:
    """Return the mail that tells these news; the same news give the same Message-ID."""
    shown = news[:TOLD_AT_ONCE]
    more = f" (et {len(news) - 1} de plus)" if len(news) > 1 else ""
    parts = [_filled(f"Le journal des accès ({commune}) vous signale ce qui suit.")]
    parts += [_paragraphs(sender, one, number, labels) for number, one in enumerate(shown, start=1)]
    if len(news) > len(shown):
        parts.append(_filled(f"Et {len(news) - len(shown)} de plus, que dit le registre : {sender.page('/registre')}"))
    message = _message(sender, to, f"{commune} : {KINDS[news[0].kind].title}{more}", at)
    _name(message, sender, to, *(one.key for one in news))
    message.set_content(_text(sender, parts), cte="quoted-printable")
    return message


def seals(
    sender: Sender, to: str, *, commune: str, at: datetime, day: date, files: Mapping[str, bytes]
) -> EmailMessage:
    """Return the mail that brings the seals of a commune's categories: `files` by their names, as they are kept."""
    message = _message(sender, to, f"{commune} : sceaux du {french_day(day)}, à garder", at)
    _name(message, sender, to, "seals", str(day))
    listed = "\n".join(f"  - {name}" for name in files)
    parts = [
        _filled(f"Voici les sceaux du journal des accès ({commune}), un par catégorie :") + f"\n{listed}",
        _filled(
            "Gardez ce message, avec ses pièces jointes telles quelles : il n’y a rien d’autre à faire. Un sceau dit "
            "où en était le journal à cette heure, et ne contient rien de ce qui y est inscrit."
        ),
        _filled(
            "À quoi il sert : votre boîte est un témoin que l’hébergeur ne peut pas changer. Si le journal était "
            "réécrit plus tard, même par quelqu’un qui en a toutes les clés, un extrait demandé ensuite ne "
            "s’accorderait plus avec ce sceau."
        ),
        _filled(
            "Comment s’en servir : sur la page de vérification, donnez l’extrait, le certificat de confiance et le "
            "fichier joint, comme sceau gardé ; ou bien journal-verify EXTRAIT --trust CERTIFICAT --known-seal "
            "FICHIER. Un refus (« fourche ») est grave : gardez tout."
        ),
        _call(sender, officer=True),
    ]
    message.set_content(_text(sender, parts), cte="quoted-printable")
    for name, content in files.items():
        message.add_attachment(content, maintype="application", subtype="json", filename=name)
    return message


def seal_name(tenant: str, category: str, day: date) -> str:
    """Return the name of the file of a seal, which the console gives it too."""
    return f"sceau-{tenant}-{category}-{day.isoformat()}.json"


def _paragraphs(sender: Sender, news: News, number: int, labels: Mapping[str, str]) -> str:
    kind = KINDS[news.kind]
    day, _, hour = paris_time(format_time(news.at)).partition(" à ")
    about = [f"catégorie : {printable(labels.get(news.category, news.category))}"] if news.category else []
    about += [f"jour : {french_day(news.day)}"] if news.day else []
    about += [news.note] if news.note else []
    seen = f"constaté le {day[8:]}/{day[5:7]}/{day[:4]} à {hour[:-3].replace(':', ' h ')}, heure de Paris"
    facts = " ; ".join([*about, seen])
    return "\n".join(
        [
            f"{number}. {kind.title}",
            _indented(f"{facts[0].upper()}{facts[1:]}."),
            _indented(f"Ce que cela veut dire : {kind.means}"),
            _indented(f"Ce qu’il faut faire : {kind.do}"),
            _indented(_call(sender, officer=kind.call == HOST_AND_OFFICER, width=None)),
        ]
    )


def _call(sender: Sender, *, officer: bool, width: int | None = WIDTH) -> str:
    said = f"Qui appeler : {sender.contact}{f', {_OFFICER}' if officer else ''}."
    return said if width is None else _filled(said)


def _indented(text: str) -> str:
    return _filled(text, "   ")


def _filled(text: str, indent: str = "") -> str:
    """Return a paragraph in lines that fit, none of which begins with a sign."""
    lines = wrap(
        typeset(text),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines)


def _text(sender: Sender, parts: Sequence[str]) -> str:
    end = (
        "Ce message ne contient ni nom, ni rien de ce que le journal contient.\n"
        f"Le détail est au registre : {sender.page('/registre')}\n"
        f"Choisir ce que vous recevez : {sender.page('/alertes')}\n"
        "Il est envoyé par un programme : n’y répondez pas."
    )
    return "\n\n".join(["Bonjour,", *parts, end.replace(" :", "\u00a0:")]) + "\n"


def _message(sender: Sender, to: str, subject: str, at: datetime) -> EmailMessage:
    message = EmailMessage()
    message["From"] = sender.address
    message["To"] = to
    message["Subject"] = subject_of(f"[Journal des accès] {printable(subject)}")
    message["Date"] = format_datetime(at)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    message["Content-Language"] = "fr"
    return message


def _name(message: EmailMessage, sender: Sender, to: str, *keys: str) -> None:
    """Name the mail by what it tells: one that is sent twice, because an answer was lost, is shown once."""
    digest = sha256("\0".join([sender.service, to, *keys]).encode()).hexdigest()[:40]
    message["Message-ID"] = f"<{digest}@{sender.service}>"

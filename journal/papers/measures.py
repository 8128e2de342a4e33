"""The security measures in place, read from the running installation; what is not in place, or not seen, says so."""

from __future__ import annotations

import asyncio
import stat
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from journal.core.entry import RESERVED_TENANT
from journal.core.errors import KeyStoreError
from journal.core.times import midnight, parse_day, parse_time
from journal.document.french import french_moment, french_number, solid_day
from journal.document.paper import Lines, Paper, Section, bad, good, grid, note, plain, small, strong
from journal.keys.persons import SignInKeys
from journal.papers.controls import looked_at, looked_table
from journal.papers.situation import entry_name
from journal.papers.transport import find_tls
from journal.status.rounds import Rounds
from journal.writing.chronicle import is_automatic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journal.core.entry import Entry
    from journal.papers.controls import Look
    from journal.papers.situation import Situation
    from journal.papers.transport import Found
    from journal.service import Service

TLS_PORT = 443
SWAPS = Path("/proc/swaps")


class Measure(NamedTuple):
    """A measure, how it stands, and where that was seen."""

    name: str
    state: Lines
    seen: Lines


async def measures(situation: Situation, look: Look | None = None) -> Paper:
    """Return the paper. Raises StoreError."""
    service = situation.service
    answers = await service.checks.run()
    found = [
        *await _transports(service),
        *await _keys(situation),
        *await _signing(situation),
        *await _ending(situation),
        *await _people(situation),
    ]
    looked = await looked_at(service, answers, look)
    controls = looked_table(service, looked, is_whole=look is not None)
    found += _watch(situation, {name: severity for name, severity in looked.items() if name in answers})
    lacking = sum(line["style"] == "bad" for measure in found for line in measure.state[:1])
    return Paper(
        title="Mesures de sécurité",
        subtitle="Telles que l'installation les montre, mesure par mesure",
        reference=f"mesures / {situation.tenant.code}",
        tenant_name=situation.tenant.name,
        lead=(
            f"Ces mesures protègent le journal de « {situation.commune} » (loi n° 78-17, art. 99 ; règlement (UE) "
            f"2016/679, art. 32). Aucune n'est recopiée d'un texte : chacune a été constatée le "
            f"{french_moment(situation.now)} sur l'installation en marche. {_summary(len(found), lacking)}"
        ),
        sections=[
            Section(
                title="Ce qui est constaté",
                blocks=[
                    grid(
                        ["Mesure", "État", "Où cela se constate"],
                        [[strong(one.name), one.state, one.seen] for one in found],
                        [52, 44, "1"],
                    )
                ],
            ),
            Section(title="Ce que contrôle le service", blocks=controls),
            Section(title="Ce que ces mesures ne couvrent pas", blocks=[note(_LIMITS)]),
        ],
        seals=[situation.seal],
    )


_LIMITS = (
    "Qui est administrateur (root) de l'hôte pendant que le service tourne peut lire ce qui est conservé. Les postes "
    "des agents, les modules et la sécurité physique de l'hébergeur ne se constatent pas d'ici. Le dossier de sécurité "
    "du logiciel (SECURITY.md) dit, attaquant par attaquant, ce que chacun peut et ne peut pas."
)


def _summary(count: int, lacking: int) -> str:
    if not lacking:
        return f"Les {count} mesures sont en place."
    verb = "n'est pas en place, ou pas constatée" if lacking == 1 else "ne sont pas en place, ou pas constatées"
    return f"Sur {count}, {lacking} {verb} : le tableau le dit."


async def _transports(service: Service) -> list[Measure]:
    settings = service.settings
    name = settings.console_host or service.name
    tls = await find_tls("127.0.0.1", TLS_PORT, name)
    return [_public(service, name, tls), await _to_database(service)]


def _public(service: Service, name: str, tls: Found | None) -> Measure:
    title = "Chiffrement des échanges avec les modules et les personnes"
    where = plain(f"poignée de main avec {name}, port {TLS_PORT} de cette machine")
    if tls is None:
        host, _ = service.settings.address
        alone = "le service n'écoute que sur cette machine" if host in {"127.0.0.1", "::1", "localhost"} else "en clair"
        return Measure(title, bad("pas constaté"), where + small(f"rien n'y répond en TLS ; {alone}"))
    if not tls.is_ours:
        return Measure(title, bad("pas constaté"), where + small("ce qui y répond n'est pas ce service"))
    state = good(tls.version) + small(
        "TLS 1.2 accepté aussi" if tls.is_old_accepted else "TLS 1.2 et plus ancien refusés"
    )
    vouched = (
        "reconnu par les autorités de cette machine" if tls.is_vouched else "d'aucune autorité connue de cette machine"
    )
    told = f"certificat {vouched}, valable jusqu'au {solid_day(tls.until.date())}"
    return Measure(title, state, where + small(told))


async def _to_database(service: Service) -> Measure:
    title = "Chiffrement des échanges avec la base"
    row = await service.store.read_transport()
    if row["ssl"]:
        return Measure(
            title, good(str(row["version"]).replace("TLSv", "TLS ")), plain("la base, sur une connexion neuve")
        )
    if row["is_socket"]:
        return Measure(title, good("sans objet"), plain("socket de la même machine : rien ne passe par un réseau"))
    return Measure(title, bad("pas en place"), plain("la base, sur une connexion neuve : elle n'est pas chiffrée"))


async def _keys(situation: Situation) -> list[Measure]:
    service = situation.service
    keystore, settings = service.keyring.keystore, service.settings
    problems = await asyncio.to_thread(_key_problems, service)
    copies = len(keystore.directories)
    where = plain("magasin de clés, ouvert par la clé maîtresse") + small(
        f"{copies} {'copie, écrite' if copies == 1 else 'copies, écrites'} avant tout accusé de réception"
    )
    chains = len(situation.heads)
    return [
        Measure(
            "Chiffrement des entrées (AES-256-GCM)",
            bad("en défaut") if problems else good("en place"),
            where,
        ),
        Measure(
            "Cloisonnement",
            good(f"{french_number(chains)} chaînes"),
            plain("une chaîne et des clés par commune et catégorie") + small(situation.seal_name),
        ),
        Measure(
            "Clé maîtresse fermée aux autres comptes",
            *(await asyncio.to_thread(_closed, settings.master_key_path)),
        ),
        Measure("Mémoire d'échange (swap)", *(await asyncio.to_thread(_swap))),
    ]


def _key_problems(service: Service) -> bool:
    keystore = service.keyring.keystore
    try:
        keystore.check_master_key()
        keystore.check_mounted()
    except (KeyStoreError, OSError):
        return True
    return bool(keystore.ledger.problems())


def _closed(path: Path) -> tuple[Lines, Lines]:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return bad("pas constaté"), plain("le fichier de la clé ne peut être examiné d'ici")
    state = bad("ouverte à d'autres") if mode & 0o077 else good("en place")
    return state, plain(f"droits du fichier : {mode:04o}")


def _swap() -> tuple[Lines, Lines]:
    try:
        lines = SWAPS.read_text(encoding="ascii").splitlines()[1:]
    except (OSError, ValueError):
        return bad("pas constaté"), plain("la liste du noyau ne peut être lue")
    if not lines:
        return good("aucune"), plain("liste qu'en tient le noyau")
    return bad("active"), plain("liste qu'en tient le noyau") + small("son chiffrement ne se constate pas d'ici")


async def _signing(situation: Situation) -> list[Measure]:
    service, status = situation.service, await situation.service.status()
    seals = plain(situation.seal_name) + small(f"fait le {french_moment(situation.seal.sealed_at)}")
    interval = service.settings.seal_interval_seconds
    late = status.unsealed_days
    sealing = bad(f"{_days(late)} sans clôture") if late else good(f"au plus toutes les {interval} s")
    found = [
        Measure("Signature séparée de l'enregistrement", *(await asyncio.to_thread(_separate, service))),
        Measure("Scellement", sealing, seals + small("et à la fin de chaque jour")),
    ]
    title = "Horodatage des sceaux par un tiers (RFC 3161)"
    if service.stamper is None:
        found.append(Measure(title, bad("pas en place"), plain("aucune autorité n'est configurée")))
    else:
        waiting = status.unstamped_seals
        state = bad(f"{waiting} sceaux attendent") if waiting else good("en place")
        found.append(Measure(title, state, plain(f"autorité : {service.stamper.authority}")))
    problem = service.receipt_keys.problem()
    found.append(
        Measure(
            "Reçu signé de chaque événement",
            bad("pas en place") if problem else good("en place"),
            plain("clé de reçus, dont le signataire se porte garant"),
        )
    )
    return found


def _separate(service: Service) -> tuple[Lines, Lines]:
    socket = service.settings.signer_socket_path
    if socket is None:
        return bad("pas en place"), plain("chaque processus lance son signataire, sous le même compte (mode d'essai)")
    try:
        signer, keys = socket.stat().st_uid, service.settings.keystore_path.stat().st_uid
    except OSError:
        return bad("pas constaté"), plain("le signataire ne répond pas")
    state = good("en place") if signer != keys else bad("pas en place")
    return state, plain("comptes du signataire et du service" + ("" if signer != keys else " : les mêmes"))


async def _ending(situation: Situation) -> list[Measure]:
    service = situation.service
    status = await service.status()
    purges = await situation.entries("purge")
    known = {row.code for row in situation.categories}
    overdue = [one.overdue_days for one in status.categories if one.category in known and one.overdue_days]
    gone = [category.purged_day for category in status.categories if category.purged_day is not None]
    last = f"dernier jour détruit : {solid_day(max(gone))}" if gone else "rien n'est encore arrivé au terme"
    entry = small(f"dernière destruction inscrite : {entry_name(purges[-1].index)}") if purges else []
    late = _late(situation, purges)
    state = good("à jour")
    if overdue:
        state = bad(_overdue(overdue))
    elif late:
        days, categories = ({one[place] for one in late} for place in (0, 1))
        state = bad(f"à jour, {_days(len(days))} avec retard{_where(len(categories))}")
    archiving = await service.store.read_archiving()
    backups = "journal de transactions archivé ou lu en continu"
    is_saved = archiving["archive_mode"] != "off" or (archiving["slots"] and not archiving["unread"])
    saved = good("en place") if is_saved else bad("pas en place")
    return [
        Measure("Destruction au terme, avec les clés", state, plain(last) + entry),
        Measure("Remise à la commune avant destruction", *_handed(situation)),
        Measure(
            "Sauvegarde de la base", saved, plain(backups) if is_saved else plain("ni archivage ni lecteur constaté")
        ),
    ]


def _days(count: int) -> str:
    return f"{french_number(count)} jour{'s' if count > 1 else ''}"


def _overdue(counts: Sequence[int]) -> str:
    """Write how many days are late: `counts` has a number for each category that keeps some."""
    if len(counts) == 1:
        return f"{_days(counts[0])} en retard"
    each = "chacune" if min(counts) == max(counts) else "au plus dans chacune"
    return f"en retard dans {len(counts)} catégories, {_days(max(counts))} {each}"


def _where(categories: int) -> str:
    return f", dans {categories} catégories" if categories > 1 else ""


def _late(situation: Situation, purges: Sequence[Entry]) -> set[tuple[str, str]]:
    """Return the days and categories that went after their limit, as the entries of purges tell."""
    return {
        (told["day"], told["category"])
        for entry in purges
        for told in entry.event["data"]["days"]
        if told["category"] in situation.heads
        and parse_time(entry.event["time"]) >= midnight(parse_day(told["day"]) + timedelta(days=told["retention_days"]))
    }


def _handed(situation: Situation) -> tuple[Lines, Lines]:
    if situation.recipient is None:
        return bad("pas en place"), plain("la commune n'a pas enregistré de certificat")
    seen = plain("certificat de la commune, dont le magasin de clés se porte garant")
    return (good("en place"), seen) if situation.is_confirmed else (bad("pas encore confirmée"), seen)


async def _people(situation: Situation) -> list[Measure]:
    service, code = situation.service, situation.tenant.code
    console = service.settings.console
    rows = [
        row
        for row in service.snapshot.persons()
        if row.tenant in {code, RESERVED_TENANT} and row.revoked_at is None and row.invitation_hash is None
    ]
    keys = SignInKeys(service.keyring.keystore)
    protected = sum(bool(keys.open(row.tenant, row.id, row.sealed).totp_secret) for row in rows)
    if not console:
        second = good("sans objet")
    elif protected == len(rows):
        second = good(f"{protected} sur {len(rows)}") if rows else plain("aucune personne")
    else:
        second = bad(f"{protected} sur {len(rows)}")
    now = service.clock.now()
    valid = [
        row
        for row in service.snapshot.credentials()
        if row.tenant == code and row.revoked_at is None and (row.expires_at is None or row.expires_at > now)
    ]
    bound = sum(row.certificate_sha256 is not None for row in valid)
    limited = sum(row.expires_at is not None for row in valid)
    asked = await situation.entries("extract")
    own = sum(map(is_automatic, asked))
    last = small(f"la dernière : {entry_name(asked[-1].index)}") if asked else []
    if own:
        last = small(f"dont {french_number(own)} du service, pour remettre à la commune") + last
    return [
        Measure(
            "Second facteur des personnes du bureau", second, plain("identités chiffrées sous la clé de la commune")
        ),
        Measure(
            "Accès des logiciels liés à un certificat",
            (good if bound == len(valid) and valid else bad if valid else plain)(f"{bound} sur {len(valid)}"),
            plain(f"accès en vigueur, dont {limited} avec une date de fin"),
        ),
        Measure(
            "Inscription de chaque demande d'extrait",
            good(_asked(len(asked))),
            plain("journal de la commune, refus compris") + last,
        ),
    ]


def _audited(situation: Situation) -> Measure:
    """Say what the audit inside the running service has checked, as it writes down itself."""
    title = "Contrôle des jours clos, entrée par entrée"
    checked = Rounds(situation.service.settings.audit_path).checked
    own = [moment for (category, _), moment in checked.items() if category in situation.heads]
    if not own:
        return Measure(title, bad("pas constaté"), plain("le service n'a encore contrôlé aucun jour clos"))
    oldest = datetime.fromtimestamp(int(min(own)), UTC)
    days = f"{french_number(len(own))} contrôlés" if len(own) > 1 else "un contrôlé"
    return Measure(
        title, good(days), plain("jours et catégories") + small(f"le plus ancien contrôle : {french_moment(oldest)}")
    )


def _asked(count: int) -> str:
    if not count:
        return "aucune à ce jour"
    return f"{french_number(count)} inscrite{'s' if count > 1 else ''}"


def _watch(situation: Situation, looked: dict[str, str]) -> list[Measure]:
    settings = situation.service.settings
    counts = Counter(looked.values())
    failing = len(looked) - counts["ok"] - counts["unseen"]
    state = bad(f"{failing} sur {len(looked)} en défaut") if failing else good(f"{counts['ok']} conformes")
    if counts["unseen"]:
        state += bad(f"{counts['unseen']} pas constaté{'s' if counts['unseen'] > 1 else ''}")
    ways = ["courriel"] if settings.notify_mail_to else []
    ways += ["message automatique"] if settings.notify_webhook else []
    return [
        Measure(
            "Contrôles continus",
            state,
            plain("ceux du service lui-même, nommés plus bas : « Ce que contrôle le service »"),
        ),
        _audited(situation),
        Measure(
            "Alerte de l'exploitant",
            good("en place") if ways else bad("pas en place"),
            plain(" et ".join(ways)) if ways else plain("ni courriel ni message automatique n'est réglé"),
        ),
    ]

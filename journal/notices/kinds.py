"""What persons of a commune may have themselves told by mail, in their own words, and what a mail says of each.

The choice of a person is kept with the person's identity, encrypted, as one text: codes separated by blanks. An empty
one means that nothing was chosen yet: then a référent is told of everything and gets the seals of each month, since an
alarm that nobody asked for is the one that is needed; nobody else is told anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HOST: Final = "host"
HOST_AND_OFFICER: Final = "host and officer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of news: `choice` as the console asks, `title`, what it `means`, what to `do`, whom to `call`."""

    choice: str
    title: str
    means: str
    do: str
    call: str = HOST


KINDS: Final[dict[str, Kind]] = {
    "integrity": Kind(
        choice="Le contrôle du journal a trouvé quelque chose de modifié, de perdu ou en trop",
        title="Alarme d’intégrité",
        means=(
            "Le contrôle permanent du journal a trouvé quelque chose qui n’est pas ce que les sceaux et les clés "
            "attestent : une entrée, un compte ou un réglage a pu être modifié, retiré ou ajouté."
        ),
        do=(
            "Ne supprimez rien. Gardez les extraits et les sceaux que vous avez reçus : ils permettent la comparaison. "
            "Demandez à l’hébergeur, par écrit, ce qui a été trouvé et depuis quand."
        ),
        call=HOST_AND_OFFICER,
    ),
    "seal": Kind(
        choice="Un sceau a été refusé",
        title="Sceau refusé",
        means=(
            "Le signataire, qui se souvient de ce qu’il a signé, a refusé de sceller le journal tel que la base le "
            "présente : la suite ne découle pas de ce qui avait été scellé."
        ),
        do=(
            "Gardez les sceaux que vous avez reçus. Demandez un extrait des jours concernés et comparez-le avec votre "
            "dernier sceau, sur la page de vérification."
        ),
        call=HOST_AND_OFFICER,
    ),
    "fact": Kind(
        choice="Un accès, une personne ou une règle a été changé sans passer par le service",
        title="Réglage falsifié",
        means=(
            "Un réglage (accès, personne, règle de conservation ou certificat) a été écrit dans la base sans que le "
            "trousseau de clés l’atteste. Il n’est pas obéi, mais quelqu’un a écrit dans la base."
        ),
        do=(
            "Comparez la page « Personnes » de la console avec ce que vous savez, et demandez à l’hébergeur qui a "
            "écrit dans la base."
        ),
        call=HOST_AND_OFFICER,
    ),
    "purge": Kind(
        choice="Un jour qui devait être détruit ne l’est pas encore",
        title="Destruction en retard",
        means="Des entrées sont gardées au-delà de la durée du contrat. Elles ne sont plus lues ni remises.",
        do="Demandez à l’hébergeur quand elles seront détruites, puis l’attestation de ce jour dans la console.",
    ),
    "handover": Kind(
        choice="Une remise à la commune n’a pas pu être faite",
        title="Remise à la commune en échec",
        means=(
            "Un jour qui doit être remis à la commune avant sa destruction ne l’a pas été, ou la commune n’a pas "
            "confirmé qu’elle peut l’ouvrir. La règle ne plie pas : à son terme, le jour est détruit."
        ),
        do=(
            "À la page « Remises » de la console, vérifiez que le certificat de la commune est valable, ouvrez la "
            "dernière remise et donnez son code de confirmation. Le registre dit pourquoi la remise a échoué ; "
            "demandez à l’hébergeur quand elle sera refaite."
        ),
    ),
    "silence": Kind(
        choice="Un logiciel n’envoie plus rien, ou des événements qu’il a numérotés manquent",
        title="Logiciel silencieux ou événements manquants",
        means=(
            "Un logiciel qui doit inscrire les accès au journal n’a rien envoyé depuis trop longtemps, ou des numéros "
            "manquent dans ce qu’il envoie : des accès peuvent ne pas être journalisés."
        ),
        do=(
            "Vérifiez si le logiciel est en service et si les agents l’utilisent. La vue d’ensemble de la console dit "
            "lequel et depuis quand. Prévenez l’éditeur s’il est utilisé et n’envoie rien."
        ),
    ),
    "certificate": Kind(
        choice="Un certificat arrive à son terme",
        title="Certificat bientôt périmé",
        means=(
            "Passé son terme, ce qui se fait avec lui s’arrête : les remises à la commune, ou les sceaux et les "
            "extraits."
        ),
        do=(
            "Si c’est celui de la commune, faites-en établir un autre et donnez-le à l’hébergeur, sans la clé privée. "
            "Si c’est celui de l’hébergeur, demandez-lui la date de son remplacement."
        ),
    ),
    "extract": Kind(
        choice="Quelqu’un d’autre que moi a demandé un extrait",
        title="Extrait demandé par quelqu’un d’autre",
        means="Une autre personne, un logiciel ou l’hébergeur a obtenu un extrait du journal de la commune.",
        do=(
            "Ouvrez le registre de la console : il dit qui, quand, pour quels jours et pourquoi. Si cette demande "
            "n’est pas légitime, faites retirer l’accès de son auteur aussitôt."
        ),
        call=HOST_AND_OFFICER,
    ),
}
SEALS: Final[dict[str, str]] = {
    "day": "Chaque jour",
    "month": "Chaque mois",
    "never": "Jamais",
}
_SEAL: Final = "seals-"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which kinds a person is told of, and how often the person gets the seals (a code of SEALS)."""

    kinds: frozenset[str] = frozenset()
    seals: str = "never"

    def text(self) -> str:
        """Return it as it is kept; never empty, which would be no choice."""
        return " ".join([*sorted(self.kinds), _SEAL + self.seals])

    def told(self) -> str:
        """Return it in French, for the entry of the choice."""
        kinds = ", ".join(kind.title.lower() for code, kind in KINDS.items() if code in self.kinds) or "aucune"
        return f"alertes par courriel : {kinds} ; sceaux : {SEALS[self.seals].lower()}"


def read_choice(text: str, role: str) -> Choice:
    """Return what a person chose, or what goes for the role where nothing was; unknown codes count as not there."""
    if not text:
        return Choice(frozenset(KINDS), "month") if role == "referent" else Choice()
    codes = text.split()
    seals = next((code.removeprefix(_SEAL) for code in codes if code.startswith(_SEAL)), "never")
    return Choice(frozenset(codes) & KINDS.keys(), seals if seals in SEALS else "never")

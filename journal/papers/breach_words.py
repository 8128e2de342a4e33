"""What the breach dossier says of each suspicion, in French: why something could be read or not, and what to do."""

from __future__ import annotations

FEARED = {
    "credential": "un accès volé",
    "backup": "une sauvegarde de la base volée",
    "database": "la base lue ou modifiée par un tiers",
    "root": "l'hôte du service pris en main (root)",
}
_OPENS = (
    "Une entrée ne s'ouvre qu'avec deux clés réunies, celle de son jour et celle de la commune, toutes deux "
    "enveloppées par la clé maîtresse. Aucune n'est dans la base ni dans ses sauvegardes."
)
_IN_CLEAR = (
    "En clair dans la base : le nom des communes et des catégories, les nombres par jour et par action, les "
    "empreintes et les sceaux. Ni compte, ni fiche, ni motif."
)
_REGISTER = (
    "Il montre aussi, sans qu'une entrée le dise, le registre des demandes de ses catégories : le nom et la fonction "
    "de qui a demandé un extrait, la finalité, les jours."
)
WHY = {
    "module": (
        (
            "L'accès d'un module inscrit des événements dans ses catégories et ne lit rien. Le voleur a pu en "
            "inscrire de faux jusqu'à sa révocation : les entrées comptées ci-dessous portent son identifiant."
        ),
    ),
    "client": (
        (
            "Cet accès fait établir des extraits au nom de la personne qu'il désigne. Chaque demande est inscrite au "
            "journal de la commune avant tout envoi, refus compris : d'une entrée, ce qui n'a pas été demandé n'a pas "
            "été lu. Sont comptées les entrées inscrites avant la demande ; avec un filtre, une partie en a été tue."
        ),
        _REGISTER,
    ),
    "auditor": (
        "Cet accès ne reçoit que la preuve, chaque entrée tue : il ne lit aucun contenu. Ses demandes sont inscrites.",
        _REGISTER,
    ),
    "reader": ("Un lecteur voit l'état et le registre, et ne reçoit aucun contenu d'entrée.", _REGISTER),
    "operator": ("Cet accès voit l'état du service et aucun contenu d'entrée.",),
    "backup": (_OPENS, _IN_CLEAR),
    "database": (
        _OPENS,
        _IN_CLEAR,
        (
            "Qui écrit dans la base peut détruire des lignes et arrêter le service ; il ne peut ni faire obéir à une "
            "ligne, ni faire signer une histoire modifiée : le signataire compare avant de signer, et les contrôles "
            "nomment l'écart."
        ),
    ),
    "root": (
        (
            "Qui est root sur l'hôte pendant que le service tourne lit ce qui est conservé, par les clés en mémoire, "
            "et peut inscrire. Ce qui était déjà détruit avant son arrivée ne se lit plus : ses clés n'existent nulle "
            "part."
        ),
        (
            "Il ne peut contredire un témoin tenu ailleurs : un sceau, un horodatage, un extrait ou un reçu gardés "
            "par la commune confondent une histoire récrite."
        ),
    ),
}
WHY["referent"] = WHY["client"]
WITH_KEYS = (
    "Le magasin de clés et la clé maîtresse sont tenus pour volés aussi : tout ce qui était conservé pendant la "
    "période s'ouvre. Ce qui avait été détruit avant ne s'ouvre pas."
)
DO = {
    "credential": (
        "Révoquer : openepm-journal credential revoke ID (ou person revoke ID). L'accès est refusé en une seconde.",
        "Donner à la commune un nouvel accès, lié à un certificat : openepm-journal credential add … --certificate.",
        (
            "Si des entrées ont été inscrites par le voleur, les garder : elles portent l'identifiant de l'accès, et "
            "un extrait les montre."
        ),
    ),
    "backup": (
        (
            "Chercher si une copie du magasin de clés et la clé maîtresse étaient au même endroit ; si oui, refaire ce "
            "dossier avec --with-keys."
        ),
        "Remplacer la clé maîtresse : openepm-journal keys rotate --copy RÉPERTOIRE.",
        "Changer les mots de passe de la sauvegarde et les lignes de pg_hba.conf.",
    ),
    "database": (
        "Garder une copie de la base comme preuve, puis openepm-journal verify-store : chaque ligne, chaîne et sceau.",
        "Changer les mots de passe des rôles de la base ; vérifier pg_hba.conf.",
        "Si verify-store nomme une altération, restaurer (guide, chapitre 3) ; ne rien corriger à la main.",
    ),
    "root": (
        "Isoler l'hôte, garder ses disques ; réinstaller sur une machine saine.",
        (
            "Remplacer la clé maîtresse, la clé de signature et chaque accès (guide, chapitre 10) ; révoquer et "
            "réinviter les personnes."
        ),
        "openepm-journal verify-store, puis comparer aux extraits et aux sceaux que la commune garde (--known-seal).",
    ),
}
NOT_ENTERED = (
    "Le remplacement de la clé maîtresse et celui de la clé de signature se font hors du service et ne s'inscrivent "
    "pas au journal : leur date est à ajouter à la main."
)
CONSEQUENCES = (
    "identification d'agents et de leur activité ; indication qu'une personne figure dans un fichier de la police "
    "municipale, si la référence de sa fiche est connue par ailleurs."
)
NO_CONSEQUENCE = "aucune identification de personne par ces seules données, chiffrées ou non communiquées."
UNREAD = "une demande ou un changement a pu y être dit, qui manque ici ; verify-store les nomme"
OF_REGISTER = (
    "identification des personnes qui ont demandé un extrait, avec leur fonction et la finalité de leur demande."
)
ENDED = "Des accès ont été révoqués ou remplacés depuis."
NOT_ENDED = "Les accès en cause sont en cours de revue."
WHO = (
    "la commune, responsable de traitement (règlement (UE) 2016/679, art. 33 ; directive (UE) 2016/680, art. 30 ; loi "
    "n° 78-17, art. 102), par le téléservice de la CNIL. L'hébergeur l'en avertit dans les meilleurs délais (art. 33, "
    "§ 2). Ce qui n'est pas encore connu peut suivre, par étapes."
)

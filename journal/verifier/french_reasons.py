"""The French of every reason for a refusal and of every error, written as `french_sentences` is."""

from __future__ import annotations

CORE = """
longer than {n} bytes
= plus de {n} octets

not in canonical form
= pas dans son unique écriture

not UTF-8 at byte {n}
= pas d’UTF-8 à l’octet {n}

not JSON at character {n}
= pas de JSON au caractère {n}

nested deeper than 32 levels
= plus de 32 niveaux

null is not accepted
= null n’est pas admis

not a string, boolean, integer, array or object
= ni texte, ni booléen, ni entier, ni tableau, ni objet

the character U+0000
= le caractère U+0000

a lone surrogate
= un demi-caractère (surrogate)

an integer beyond ±(2^53-1)
= un entier au-delà de ±(2^53−1)

a member name is not 1 to 64 printable ASCII characters
= un nom de membre n’a pas de 1 à 64 caractères ASCII imprimables

a member appears twice
= un membre vient deux fois

negative zero is not an integer
= le zéro négatif n’est pas un entier

a number with a fraction or an exponent
= un nombre à virgule ou à exposant

not a JSON value
= ce n’est pas une valeur de JSON

not an origin of format v1
= ce n’est pas une origine du format 1

not a record: its members are not the seven of format v1
= ce n’est pas un enregistrement : ses membres ne sont pas les sept du format 1

not a record of format v1
= ce n’est pas un enregistrement du format 1

not an index
= ce n’est pas un numéro d’entrée

not a category code
= ce n’est pas un code de catégorie

not a tenant code
= ce n’est pas un code de commune

empty
= vide

not an object
= ce n’est pas un objet

not a CloudEvent of version 1.0
= ce n’est pas un CloudEvent de version 1.0

not a string
= ce n’est pas un texte

not a non-empty string
= ce n’est pas un texte non vide

its ciphertext is cut short
= son chiffré est coupé

its leaf hash is not the hash of its salt and record
= son empreinte n’est pas celle de son sel et de son contenu

its ciphertext does not decrypt at this place of the chain
= son chiffré ne se déchiffre pas à cette place de la chaîne

a delegation is at most {n} bytes
= une délégation a au plus {n} octets

not the canonical text of a delegation
= ce n’est pas l’unique écriture d’une délégation

not the delegation of a receipt key: {sentence}
= ce n’est pas la délégation d’une clé de reçus : {sentence}

not the delegation of a receipt key of format v1
= ce n’est pas la délégation d’une clé de reçus du format 1

not a head: its members are not the four of format v1
= ce n’est pas une tête de chaîne : ses membres ne sont pas les quatre du format 1

a seal is at most {n} bytes
= un sceau a au plus {n} octets

not the canonical text of a seal
= ce n’est pas l’unique écriture d’un sceau

not an integer
= ce n’est pas un entier

not lower-case hexadecimal
= ce n’est pas de l’hexadécimal en minuscules

not a valid head
= ce n’est pas une tête de chaîne valable

not a seal: {sentence}
= ce n’est pas un sceau : {sentence}

not a seal of format v1
= ce n’est pas un sceau du format 1

not a time spelt YYYY-MM-DDTHH:MM:SS.ffffffZ
= ce n’est pas une date écrite AAAA-MM-JJTHH:MM:SS.ffffffZ

not an RFC 3339 date and time, such as 2026-11-15T08:30:00+01:00
= ce n’est pas une date de la RFC 3339, comme 2026-11-15T08:30:00+01:00

the time has no zone
= la date n’a pas de fuseau

the time is finer than a microsecond
= la date est plus fine que la microseconde

a leap second cannot be recorded
= une seconde intercalaire ne s’enregistre pas

not a time of the calendar
= cette date n’existe pas

not a day spelt YYYY-MM-DD
= ce n’est pas un jour écrit AAAA-MM-JJ

not a time spelt YYYY-MM-DDTHH:MM:SSZ
= ce n’est pas une date écrite AAAA-MM-JJTHH:MM:SSZ

not a day of the calendar
= ce jour n’existe pas

a path is at most {n} siblings
= un chemin a au plus {n} éléments

a path is at most 256 siblings
= un chemin a au plus 256 éléments

a sibling is 32 bytes
= un élément de chemin a 32 octets

the last sibling of a path is an empty subtree
= un chemin finit par le vide
"""

SIGNATURES = """
{n} bytes of PEM where at most {n2} are accepted
= {n} octets de PEM, où {n2} au plus sont admis

no certificate in PEM form
= aucun certificat au format PEM

a certificate of more than {n} bytes
= un certificat de plus de {n} octets

a certificate is not of version 3
= un certificat n’est pas de version 3

a certificate's serial number is negative, or longer than 20 octets
= le numéro de série d’un certificat est négatif ou de plus de 20 octets

a certificate names two signature algorithms
= un certificat nomme deux algorithmes de signature

its key is of a kind we do not accept
= sa clé n’est pas d’une sorte admise

its RSA key is of a size or form we do not accept
= sa clé RSA n’a pas une taille ou une forme admises

an ECDSA signature holds a number that is not positive
= une signature ECDSA contient un nombre nul ou négatif

it is signed with an algorithm we do not accept
= il est signé par un algorithme non admis

a PEM certificate is not base64
= un certificat PEM n’est pas du base64

a certificate has an extension twice
= une extension vient deux fois dans un certificat

a public key is not an uncompressed point
= une clé publique n’est pas un point non compressé

a public key is not on its curve
= une clé publique n’est pas sur sa courbe

a signature is not in the one encoding of its profile
= la signature n’est pas dans son unique écriture

the signature is over other content
= la signature porte sur un autre contenu

the signed attributes are not those of a document
= les attributs signés ne sont pas ceux d’un document

the signed attributes are of other content
= les attributs signés sont d’un autre contenu

the signed attributes name another certificate
= les attributs signés nomment un autre certificat

an ECDSA signature is out of range, or has the higher of its two equivalent values of s
= les nombres d’une signature ECDSA sont hors limites, ou s est le plus grand des deux équivalents

a signature lacks a signed attribute of its profile
= un attribut signé manque

a signature lists {n} certificates
= une signature nomme {n} certificats

the signature is not by the key of its certificate
= la signature n’a pas été faite par cette clé

a signature lists a certificate it does not hold
= les certificats ne sont pas ceux que la signature nomme

the signer's RSA key has less than {n} bits
= la clé RSA du signataire a moins de {n} bits

{n} bytes where at most {n2} are accepted
= {n} octets, où {n2} au plus sont admis

bytes after the end of a DER value
= des octets suivent en DER

DER nested deeper than {n}
= DER de plus de {n} niveaux

a DER value is cut short
= DER coupé

a BOOLEAN is neither 00 nor FF
= un BOOLEAN n’est ni 00 ni FF

an INTEGER is not in its shortest form
= un INTEGER n’est pas au plus court

a BIT STRING has wrong padding
= un BIT STRING est mal complété

a NULL has content
= un NULL a un contenu

an OBJECT IDENTIFIER is empty, too long, cut short or not in its shortest form
= un OBJECT IDENTIFIER est vide, trop long, coupé ou pas au plus court

a PrintableString holds other characters
= une PrintableString contient d’autres caractères

an IA5String is not ASCII
= une IA5String n’est pas en ASCII

a DER time is not in its one spelling
= date DER mal écrite

DER tag 0x{text} where 0x{text2} belongs
= étiquette DER 0x{text}, où 0x{text2} est attendue

{n} DER members where {n2} belong
= {n} membres DER, où {n2} sont attendus

{n} DER members where at least {n2} belong
= {n} membres DER, où {n2} au moins sont attendus

a BIT STRING is not whole octets
= un BIT STRING n’est pas fait d’octets entiers

DER tag 0x{text} where a time belongs
= étiquette DER 0x{text}, où une date est attendue

a date is not in its one spelling
= date mal écrite

a DER SET OF out of order
= ensemble DER qui n’est pas en ordre

a DER length is indefinite or not in its shortest form
= longueur DER indéfinie, ou pas la plus courte

a UTF8String is not UTF-8
= une UTF8String n’est pas en UTF-8

a DER time is not a valid date
= une date DER n’existe pas

DER tag 0x{text} is not used here
= l’étiquette DER 0x{text} n’a pas sa place ici

the time-stamp is of other content
= l’horodatage est d’un autre contenu

the time-stamp answers another request
= l’horodatage répond à une autre demande

the time-stamp, of {time}, is older than its content
= l’horodatage, du {time}, est plus ancien que ce qu’il atteste

the time-stamp is of {time}, which is later than the time it was seen
= l’horodatage est du {time} : il était encore à venir quand l’extrait a été établi

a time-stamp is signed as another content type
= le jeton est signé comme autre chose

the signature of the time-stamp is over other content
= le jeton est signé sur un autre contenu

a time-stamp does not name its certificate in what is signed
= le jeton ne nomme pas son certificat

a time-stamp names its certificate in an unknown way
= le jeton nomme son certificat d’une façon inconnue

the time-stamp names another certificate than its signer's
= le jeton nomme un autre certificat que celui de son signataire

a time-stamp names no certificate in what is signed
= le jeton ne nomme aucun certificat

a time-stamp is signed with an algorithm we do not accept, or not that of its key
= jeton signé par un algorithme non admis, ou qui n’est pas celui de sa clé

its extended key usage is not time-stamping, critical and alone
= ce certificat n’est pas d’une autorité d’horodatage

the time-stamp is not signed by the key of its certificate
= le jeton n’a pas été signé par cette clé

not a time-stamp token
= ce n’est pas un jeton d’horodatage

a time-stamp token has parts that its version does not have
= jeton d’une autre version

the signer of a time-stamp has parts that its version does not have
= signataire d’une autre version

a time-stamp is hashed with an algorithm we do not accept
= empreinte d’un algorithme non admis

a time-stamp holds more than {n} certificates
= jeton de plus de {n} certificats

a time-stamp does not hold its signer's certificate, once
= le certificat du signataire n’est pas une fois dans le jeton

the signed attributes of a time-stamp are out of order
= attributs signés en désordre

a time-stamp has a signed attribute twice
= un attribut signé vient deux fois dans le jeton

a time-stamp is not of version 1
= horodatage d’une autre version

the imprint of a time-stamp is not by SHA-256
= empreinte qui n’est pas de SHA-256

a time-stamp holds a member that is unknown, given twice or out of order
= un membre de l’horodatage est inconnu, en double ou en désordre

the accuracy of a time-stamp is negative, or more than a day
= précision négative, ou de plus d’un jour

the accuracy of a time-stamp has a fraction that is not from 1 to 999
= précision inattendue

an answer without a status, or with more than a status and a token
= une réponse sans état, ou avec plus qu’un état et un jeton

an answer whose status does not match its token
= une réponse dont l’état contredit le jeton

a time-stamp lacks a signed attribute, or has several values of it
= un attribut signé manque au jeton

a time-stamp has a critical extension, and we know none
= extension critique dans l’horodatage

it is not issued for {text}
= le certificat du signataire n’est pas celui du service {text}

it names neither a service nor one organisation
= le certificat du signataire ne nomme ni un service, ni une organisation

it is the seal of another organisation than the auditor expects
= c’est le cachet d’une autre organisation que celle que vous attendez

it is the seal of another organisation than that of the extract, {text}
= c’est le cachet d’une autre organisation que celle de l’extrait ({text})

it is valid from {time} to {time2}, not at {time3}
= ce certificat est valable du {time} au {time2}, et non le {time3}

a chain of {n} certificates
= une chaîne de {n} certificats

it was not issued by a certificate the auditor trusts
= il n’est certifié par aucun des certificats de confiance fournis

it is an authority's certificate, and cannot be a signer's
= c’est le certificat d’une autorité, et non d’un signataire

its extended key usage is for other purposes
= le certificat n’a pas l’usage attendu d’un signataire

it is not an authority, or not for a path of this length
= ce n’est pas une autorité, ou pas pour un chemin de cette longueur

it is an authority for other purposes
= ce n’est pas le certificat d’une autorité pour cet usage

it has an extension we do not apply
= le certificat porte une extension non admise

its key usage lacks {text}
= le certificat n’a pas l’usage attendu ({text})

basic constraints are not in their one encoding
= les contraintes de base sont mal écrites

a chain holds no self-issued certificate
= un certificat de la signature s’est émis lui-même

it was not issued by the next certificate of its chain
= il n’est pas certifié par le suivant de la signature

a dNSName is not ASCII
= un nom DNS n’est pas en ASCII
"""

EXTRACT = """
not a whole extract: a part is missing, added, renamed or moved, or there are bytes around the parts
= ce n’est pas un extrait entier : une partie manque, est en trop, renommée ou déplacée, ou des octets l’entourent

the file ends early
= le fichier est coupé

its headers are not those of the format
= ses en-têtes ne sont pas ceux attendus

stored, but with two sizes
= stockée, elle aurait deux tailles

not the type of an ASiC-E container
= ce n’est pas le type d’un extrait

its content does not have the size or CRC announced
= son contenu n’a pas la taille ou le CRC annoncés

the file changed while it was read
= le fichier a changé pendant sa lecture

the last line is cut short
= sa dernière ligne n’est pas terminée

its compressed content is cut short
= son contenu compressé est coupé

a line is longer than {n} bytes
= une ligne dépasse {n} octets

bytes follow its compressed content
= des octets suivent son contenu compressé

its compressed content is damaged
= son contenu compressé est endommagé

longer than {n} bytes, the limit of {text}
= plus de {n} octets, la limite de {text}

the seals are not in the order of their numbers
= les sceaux ne sont pas dans l’ordre de leurs numéros

not close seals followed by one open seal
= ce ne sont pas des sceaux de clôture, puis un seul ouvert

{day} is after the last seal, of {day2}
= aucun sceau n’atteint le {day} : le dernier est du {day2}

close seals of days other than the period and its eve
= des sceaux de clôture sont hors de la période

no close seal of a day of the period, of which something is left
= le sceau de clôture d’un jour de la période manque, dont il reste quelque chose

no close seal of {day}
= le sceau de clôture du {day} manque

entries before index {n} were purged; kept {n2} days, days up to {day} could be, and no seal here shows more than {n3}
entries in them
= des entrées ont disparu avant leur terme : avant le n° {n} ; à {n2} jours, les jours jusqu’au {day} pouvaient
disparaître, et aucun sceau n’y montre plus de {n3} entrées

on {day} entries from index {n} on were still kept; with a retention of {n2} days, days up to {day2} had to be purged
= le {day}, les entrées à partir du n° {n} étaient encore conservées ; à {n2} jours, celles du {day2} devaient avoir
disparu

its head is not the one in {text}
= la fin de l’extrait n’est pas celle que montre {text}

it begins at index {n}, and no seal justifies that those from {n2} on are missing
= l’extrait commence au n° {n}, et aucun sceau ne justifie que ceux à partir du n° {n2} manquent

it begins before its period
= l’extrait commence avant sa période

it holds entries that the seals say are purged
= l’extrait contient des entrées que les sceaux disent purgées

it begins in the middle of a day
= l’extrait commence au milieu d’un jour

its base is not the head in the seals
= le début de l’extrait n’est pas celui de la chaîne

issued before the seal that was made for it
= l’extrait est plus ancien que le sceau fait pour lui

it holds entries that had to be purged when it was issued
= l’extrait contient des entrées au-delà de leur durée quand il a été établi

it holds entries that had to be purged when it was signed
= l’extrait contient des entrées au-delà de leur durée quand il a été signé

the empty chain has another chain hash
= la chaîne vide n’a pas son empreinte d’origine

it is of {text}
= ce sceau est d’une autre chaîne ({text})

an open seal bears a time-stamp
= un sceau ouvert ne porte pas d’horodatage

{day} is closed after {day2}
= le {day} est clos après le {day2}

it is a seal of {text}
= le sceau est d’un autre service ({text})

its signing time is not the time in its text
= le sceau a été signé à un autre moment qu’il ne dit

the head and its path do not lead to the signed root
= la tête de la chaîne et son chemin ne mènent pas à la racine scellée

two seals under one number
= deux sceaux sous un même numéro

a later seal has an earlier time
= le temps recule d’un sceau au suivant

a later seal covers fewer chains
= des chaînes disparaissent

the chain is shorter in the later seal
= la chaîne est plus courte dans le second

two chain hashes at size {n}
= deux empreintes de chaîne à la taille {n}

entries that the earlier seal says are purged are kept in the later
= ce qui était purgé dans le premier ne l’est plus dans le second

the second does not name the first as the seal before it
= le second suit le premier et ne le nomme pas

the second does not name the close seal before it
= le second ne nomme pas la clôture qui le précède

the second names an older close seal than the first
= le second nomme une clôture plus ancienne que le premier

not canonical base64
= ce n’est pas du base64 dans son unique écriture

not ASCII text
= ce n’est pas un texte en ASCII

not a list of 32-byte hashes in lower-case hexadecimal
= ce n’est pas une liste d’empreintes de 32 octets en hexadécimal

not {"seals":[…]}
= ce n’est pas {"seals":[…]}

no seal
= aucun sceau

its members are not those of the format
= ses membres ne sont pas ceux du format

not the answer of GET …/head
= ce n’est pas une réponse de GET …/head

not a line of proof.ndjson
= ce n’est pas une ligne de preuve

not base64
= ce n’est pas du base64

not a list of hashes
= ce n’est pas une liste d’empreintes

not "all"
= ce n’est pas "all"

not openepm-journal/extract/v1
= ce n’est pas openepm-journal/extract/v1

not of the type in the format
= pas du type que veut le format

{text} is 1 to {n} characters
= {text} a de 1 à {n} caractères

a retention is 2 to 60 days
= une durée de conservation est de 2 à 60 jours

the changes of a rule are in their order, 32 at most
= les changements d’une règle sont dans leur ordre, 32 au plus

not 1 to {n} sources
= ce n’est pas de 1 à {n} sources

not two numbers
= ce ne sont pas deux nombres

numbers of a source are not negative
= les numéros d’une source ne sont pas négatifs

the gaps of a source are ranges apart and in their order, {n} at most
= les lacunes d’une source sont des plages distinctes, dans leur ordre, {n} au plus

the numbers of {n} sources are told at most
= les numéros de {n} sources au plus sont dits

the name of a source does not decrypt
= le nom d’une source ne se déchiffre pas

the days of the access are not in their order
= les jours de l’accès ne sont pas dans leur ordre

lateness is 1 to 60 days, and counts are not negative
= un retard est de 1 à 60 jours, et les nombres d’entrées ne sont pas négatifs

lateness.here is counted, unless all entries are withheld
= lateness.here est compté, sauf si aucune entrée n’est communiquée

it says that {n} entries are of accesses outside the period; of those disclosed, {n2} are
= {n2} entrées communiquées sont d’accès d’autres jours, {n} annoncées en tout

a filter that withholds all has no other member
= un filtre qui masque tout n’a pas d’autre membre

a request has an index and a leaf hash
= une demande a un numéro et une empreinte

an extract needs an origin
= il faut une origine à un extrait

an extract covers days in order, from 1970 on
= un extrait couvre des jours dans leur ordre, à partir de 1970

an extract goes from its base to its head
= un extrait va de son début à sa fin

a hash is 32 bytes
= une empreinte a 32 octets

an extract needs one of the purposes the law allows
= il faut à un extrait une des finalités que la loi admet

a count is not negative
= un nombre d’entrées n’est pas négatif

the counts do not add up to the entries between base and head
= les nombres d’entrées ne font pas ceux qui vont du début à la fin

an unfiltered extract withholds nothing
= un extrait sans filtre ne masque rien

an extract that withholds all discloses nothing
= un extrait qui masque tout ne communique rien

not hexadecimal
= ce n’est pas de l’hexadécimal

not 32 bytes in lower-case hexadecimal
= ce ne sont pas 32 octets en hexadécimal

it holds other files
= il contient d’autres fichiers

it is an archive that holds the extract (.asice): take it out, and give that
= c’est une archive qui contient l’extrait (.asice) : sortez-l’en, et donnez celui-ci

its files are in a folder, as if the extract had been unpacked: ask for the file that was issued
= ses fichiers sont dans un dossier, comme si l’extrait avait été décompressé : demandez le fichier tel qu’il a été émis

its directory is damaged
= son répertoire est endommagé

{text} is missing
= {text} manque

its members overlap
= ses parties se chevauchent

it has no end record, as if it were cut short
= la fin d’un fichier ZIP n’y est pas, comme s’il était coupé

its end record is damaged
= son enregistrement de fin est endommagé

{text} is encrypted, or compressed in a way that not all programs read
= {text} est chiffrée, ou compressée d’une façon que tous ne lisent pas

{text} is stored, but with two sizes
= {text} est stockée avec deux tailles

{text} is longer than {n} bytes
= {text} est plus grande qu’elle ne peut l’être ({n} octets)

{text} is not where the directory says
= {text} n’est pas là où le dit le répertoire

{text} is there twice
= {text} s’y trouve deux fois

not an extract, not even one that was packed again: {sentence}
= ce n’est pas un extrait, ni un extrait empaqueté de nouveau : {sentence}

not the digests of the parts of this extract, in the one template
= ce n’est pas le texte attendu

every part is authentic, but another program has packed them again, or something was written around them;
journal-verify --repair writes the extract as it was issued
= toutes les parties sont authentiques, mais un autre programme les a empaquetées de nouveau, ou quelque chose a été
écrit autour d’elles ; journal-verify --repair écrit l’extrait tel qu’il a été émis

not the text that belongs to this manifest
= ce ne sont pas les instructions de cet extrait

its signing time is before the time of issue in the manifest
= la signature est plus ancienne que l’extrait

its content does not have the digest in META-INF/ASiCManifest.xml, which is signed
= ce n’est pas la partie qui a été signée

{sentence}; it must be the signature of META-INF/ASiCManifest.xml
= {sentence} ; elle doit être celle de META-INF/ASiCManifest.xml

it ends before index {n}
= l’entrée {n} et les suivantes y manquent

it continues after index {n}, the last one
= des lignes sont en trop, après l’entrée {n}, la dernière

it has index {n} where index {n2} is expected
= l’entrée {n} y est, où l’entrée {n2} est attendue

it belongs to another compartment
= cette entrée est d’une autre chaîne

its index is {n}
= son numéro est {n}

it was recorded before the entry above it
= le temps recule d’une entrée à la suivante

by the seals it was recorded on {day}, by its own time on another day
= les sceaux placent cette entrée le {day}, son heure un autre jour

it does not match the filter
= cette entrée n’est pas de celles que le filtre demande

the entry of its request is not the one at that index
= l’entrée à ce numéro n’est pas celle de la demande

its first line does not match the entries
= sa première ligne n’est pas celle attendue

index {n} does not match the entries
= le tableau ne dit pas ce que dit l’entrée {n}

at size {n} the chain does not have the chain hash of {text}
= à la taille {n}, la chaîne n’est pas celle que montre {text}

at size {n} the extract's chain has another chain hash
= à la taille {n}, l’extrait a une autre empreinte de chaîne

it holds more entries than the proof
= des entrées sont en trop

it holds more lines than entries are disclosed
= des lignes sont en trop

it says that {n} entries are disclosed; there are {n2}
= {n2} entrées sont communiquées, {n} annoncées

it is empty: ask for it again
= il est vide : demandez-le de nouveau

it is encrypted, as what is handed over is: decrypt it first, with the key of its certificate
= il est chiffré, comme ce qui est remis avant la purge : déchiffrez-le d’abord, avec la clé de son certificat

it is a PDF document: the evidence is the extract (.asice) that it came in
= c’est un document PDF : la preuve est l’extrait (.asice) qui le contenait

it holds certificates, as --trust wants them
= ce sont des certificats, à donner par --trust

it is in PEM form; if it was encrypted for you, decrypt it first
= il est en format PEM ; s’il a été chiffré pour vous, déchiffrez-le d’abord

it is an archive of 7-Zip: take the extract (.asice) out of it
= c’est une archive 7-Zip : sortez-en l’extrait (.asice)

it is compressed with gzip: uncompress it first
= il est compressé par gzip : décompressez-le d’abord

it is an archive of RAR: take the extract (.asice) out of it
= c’est une archive RAR : sortez-en l’extrait (.asice)

it is in base64, as mails carry files: decode it first (base64 -d)
= il est en base64, comme les courriels transportent les fichiers : décodez-le d’abord (base64 -d)

it is a web page or XML: the download failed, or another file was saved
= c’est une page web ou du XML : le téléchargement a échoué, ou un autre fichier a été enregistré

it is JSON; an answer of GET …/head is given with --known-seal
= c’est du JSON ; une réponse de GET …/head se donne par --known-seal
"""

RECEIPTS = """
not signed: the service had no receipt key when it gave this; sent again, the same events get signed receipts
= pas signé : le service n’avait pas de clé de reçus quand il l’a donné ; renvoyés, les mêmes événements reçoivent des
reçus signés

not what a submission is answered: its members are not those of the format
= ce n’est pas la réponse à un envoi : ses membres ne sont pas ceux du format

not a list of receipts
= ce n’est pas une liste de reçus

its members are not those of a receipt
= ses membres ne sont pas ceux d’un reçu

the signing time of the delegation is not the time in its text
= la délégation a été signée à un autre moment qu’elle ne dit

the receipt key was not valid when it signed
= la clé de reçus n’était pas valable quand elle a signé

a receipt is of another service than its key
= un reçu est d’un autre service que sa clé

the receipt key is not on its curve
= la clé de reçus n’est pas sur sa courbe

the receipts are not what the receipt key signed
= les reçus ne sont pas ce que la clé de reçus a signé

it is of {text}, and nothing shown is
= il est de {text}, et rien de ce qui est montré ne l’est

{text} vouches for its key, and not for what is shown
= {text} répond de sa clé, et non de ce qui est montré

{text} acknowledged it as entry {n} of {text2}; {text3} vouches for its key
= {text} l’a reçue comme entrée {n} de {text2} ; {text3} répond de sa clé

{text} declares a disaster in which it may have been lost; ask when and why
= {text} déclare un sinistre où il a pu être perdu ; demandez quand et pourquoi

the host acknowledged what it does not show: {sentence}
= l’hébergeur a accusé réception de ce qu’il ne montre pas : {sentence}

entry {n} is there, with its leaf hash and chain hash
= l’entrée {n} est là, avec ses deux empreintes

{day} is purged under the rule that {text} states
= le {day} est purgé selon la règle que dit {text}

the chain hash in {text} is its own
= l’empreinte de chaîne dans {text} est la sienne

its place is sealed: ask for an extract of {day}
= sa place est scellée : demandez un extrait du {day}

no seal shown was made after it was recorded
= aucun sceau montré n’a été fait après son inscription

entry {n} is another one
= l’entrée {n} en est une autre

at size {n}, {text} has another chain hash
= à la taille {n}, {text} a une autre empreinte de chaîne

{text} holds {n} entries, and this is entry {n2}, recorded before it was made
= {text} contient {n} entrées, et ceci est l’entrée {n2}, inscrite avant qu’il soit fait

by {text} entry {n} was recorded on {day} or before
= selon {text}, l’entrée {n} a été inscrite le {day} ou avant

{text} says that it is purged, when its day could not be
= {text} la dit purgée, quand son jour ne pouvait pas l’être

entry {n} of {time} (event {text} of {text2}): {class}: {sentence}
= entrée {n} du {time} (événement {text} de {text2}) : {class} : {sentence}

{text}: entry {n} of {time} (event {text2} of {text3}): {class}: {sentence}
= {text} : entrée {n} du {time} (événement {text2} de {text3}) : {class} : {sentence}

{class}: {text}: {sentence}
= {class} : {text} : {sentence}

{text}: {n} more, {class}
= {text} : {n} autres, {class}
"""

ERRORS = """
an extract is needed, unless receipts are given
= il faut un extrait, ou des reçus

{text} is a directory
= {text} est un dossier

{text} is not a regular file: it cannot be read twice
= {text} n’est pas un fichier ordinaire : il ne peut pas être lu deux fois

--repair: {text} was not written: {sentence}
= --repair : {text} n’a pas été écrit : {sentence}

[Errno 2] No such file or directory: {text}
= fichier introuvable : {text}

[Errno 13] Permission denied: {text}
= accès refusé : {text}

[Errno 17] File exists: {text}
= le fichier existe déjà : {text}

interrupted: nothing is verified
= interrompu : rien n’est vérifié

the verifier failed, which says nothing about the extract: {text}
= le vérificateur a échoué, ce qui ne dit rien de l’extrait : {text}

the result could not be written: {text}
= le résultat n’a pas pu être écrit : {text}

{text} was written, and is what was verified
= {text} a été écrit, et c’est lui qui a été vérifié

not checked: {sentence}
= pas vérifié : {sentence}
"""

"""Two texts of an extract: the digests that are signed, and the instructions for verifying by hand.

Both are pure functions. The verifier makes them again and compares, so that neither can say anything else. The XML
is therefore written from a template and never parsed as XML.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

from journal.core.errors import MalformedError
from journal.core.times import format_day, format_time
from journal.extract.layout import DIGESTS, DOCUMENT, ENTRIES, INSTRUCTIONS, MANIFEST, PROOF, SEALS, SIGNATURE, TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from journal.extract.manifest import Manifest

# The members that the signature covers, in their order; the document may be left out.
SIGNED = {
    ENTRIES: "application/x-ndjson",
    PROOF: "application/x-ndjson",
    SEALS: "application/json",
    MANIFEST: "application/json",
    TABLE: "text/csv",
    DOCUMENT: "application/pdf",
    INSTRUCTIONS: "text/plain",
}

_DIGESTS = """\
<?xml version="1.0" encoding="UTF-8"?>
<asic:ASiCManifest xmlns:asic="http://uri.etsi.org/02918/v1.2.1#" xmlns:ds="http://www.w3.org/2000/09/xmldsig#">
  <asic:SigReference MimeType="application/pkcs7-signature" URI="{signature}"/>
{objects}</asic:ASiCManifest>
"""
_OBJECT = """\
  <asic:DataObjectReference MimeType="{mimetype}" URI="{name}">
    <ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>
    <ds:DigestValue>{digest}</ds:DigestValue>
  </asic:DataObjectReference>
"""
_DIGEST_VALUE = re.compile(rb"<ds:DigestValue>([A-Za-z0-9+/]{43}=)</ds:DigestValue>")

_INSTRUCTIONS = """\
Extrait du journal des accès {origin}
Jours entiers (UTC) du {first_day} au {last_day}, établi le {issued_at}

Conservez ce fichier tel quel : c'est un conteneur ASiC-E signé ; modifié, même recompressé, il ne vaut rien.
{entries} contient les entrées, {table} les mêmes pour un tableur ; {proof} et {seals} en sont la preuve.

1. Obtenez le certificat de confiance (trust.pem) par une autre voie que cet extrait.
2. Vérifiez tout, hors ligne (signatures, sceaux, chaîne, lacunes, durées de conservation) :
     journal-verify FICHIER --trust trust.pem
3. Ou, sans notre logiciel, après décompression, la signature :
     openssl cms -verify -binary -inform DER -in {signature} \\
       -content {digests} -CAfile trust.pem -purpose any -attime {epoch} -out /dev/null
   puis l'empreinte de chaque fichier, à comparer avec celle que donne {digests} :
     for f in *.*; do echo "$f $(openssl dgst -sha256 -binary "$f" | openssl base64)"; done
"""


def signed_names(names: Sequence[str]) -> list[str]:
    """Return which of a container's members its signature covers."""
    return [name for name in names if name in SIGNED]


def write_digests(digests: Mapping[str, bytes]) -> bytes:
    """Write META-INF/ASiCManifest.xml (ETSI EN 319 162-1, annex A) for these members, given in order.

    KeyError for a name that is not one of SIGNED.
    """
    objects = "".join(
        _OBJECT.format(mimetype=SIGNED[name], name=name, digest=b64encode(digest).decode())
        for name, digest in digests.items()
    )
    return _DIGESTS.format(signature=SIGNATURE, objects=objects).encode()


def read_digests(content: bytes, names: Sequence[str]) -> dict[str, bytes]:
    """Return the digests of the members `names`; MalformedError unless the template gives these bytes."""
    values = map(b64decode, _DIGEST_VALUE.findall(content))
    digests = dict(zip(names, values))
    if len(digests) != len(names) or write_digests(digests) != content:
        raise MalformedError("not the digests of the parts of this extract, in the one template", part=DIGESTS)
    return digests


def write_instructions(manifest: Manifest) -> bytes:
    """Write LISEZMOI.txt: how to verify, with our tool or with OpenSSL alone."""
    return _INSTRUCTIONS.format(
        origin=manifest.origin,
        first_day=format_day(manifest.first_day),
        last_day=format_day(manifest.last_day),
        issued_at=format_time(manifest.issued_at),
        entries=ENTRIES,
        table=TABLE,
        proof=PROOF,
        seals=SEALS,
        signature=SIGNATURE,
        digests=DIGESTS,
        # The certificate was valid at that time: the command keeps working after it has expired.
        epoch=int(manifest.issued_at.timestamp()),
    ).encode()

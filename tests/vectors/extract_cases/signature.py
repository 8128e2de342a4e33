"""Signatures and digests that do not hold: bad signature, untrusted, malformed, mismatched part."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from journal.extract.layout import DIGESTS, DOCUMENT, ENTRIES, INSTRUCTIONS, MANIFEST, PROOF, SEALS, SIGNATURE, TABLE
from journal.pki import cms, der
from journal.pki.certificates import parse, read_ecdsa
from tests.support import authority
from tests.support.authority import AUTHORITY, ROOT, SIGNER, ecdsa_value, issue, new_key
from tests.support.extracts import contents_of, pack
from tests.vectors.extract_cases.case import (
    CHAIN,
    MADE_AT,
    OTHER_ROOT,
    Case,
    digests_of,
    refused,
    short,
    signed,
    with_parts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

BAD, UNTRUSTED, MALFORMED, MISMATCHED = "bad signature", "untrusted", "malformed", "mismatched part"
AT = MADE_AT + timedelta(seconds=2)


def cases() -> Iterator[Case]:
    """Yield them."""
    yield from _unsigned_changes()
    for name, about, verdict, signature in (*_bad(), *_respelt()):
        extract = with_parts(short(), {SIGNATURE: signature})
        yield refused(name, about, extract, verdict, SIGNATURE)
    for name, about, chain in _chains():
        yield refused(name, about, signed(short(), chain=chain), UNTRUSTED, SIGNATURE)
    about = "The auditor trusts another authority alone."
    yield refused("trust-of-another-authority", about, short(), UNTRUSTED, SIGNATURE, trust="other.pem")
    about = "The signature claims a time two seconds before that of issue."
    extract = signed(short(), signed_at=MADE_AT - timedelta(seconds=1))
    yield refused("signed-before-issued", about, extract, MISMATCHED, SIGNATURE)
    yield from _digests()


def _unsigned_changes() -> Iterator[Case]:
    """Parts changed by somebody who cannot sign."""
    found = contents_of(signed(short()))
    changes = {
        ENTRIES: ("An account was replaced in an entry.", b"agent-2", b"agent-1"),
        PROOF: ("A digit of a salt was changed.", b'"salt":"', b'"salt":"0'),
        SEALS: ("A digit of a chain hash was changed.", b'"chain_hash":"', b'"chain_hash":"0'),
        MANIFEST: ("The requester was replaced.", b"Montreuil", b"Bagnolet"),
        TABLE: ("An account was replaced in the table.", b"agent-2", b"agent-1"),
        INSTRUCTIONS: ("The instructions name another command.", b"journal-verify", b"journal-trust"),
    }
    for name, (about, old, new) in changes.items():
        content = found[name].replace(old, new, 1)
        stem = name.replace(".", "-").lower()
        yield refused(
            f"changed-{stem}", f"{about} Nothing was signed anew.", pack({**found, name: content}), MISMATCHED, name
        )
    documented = contents_of(with_parts(short(), {DOCUMENT: b"%PDF-1.7 one"}))
    about = "The document was replaced. Nothing was signed anew."
    yield refused("changed-document", about, pack({**documented, DOCUMENT: b"%PDF-1.7 two"}), MISMATCHED, DOCUMENT)
    del documented[DOCUMENT]
    yield refused(
        "document-removed", "A document that the digests name was removed.", pack(documented), MALFORMED, DIGESTS
    )
    other = contents_of(signed(short(requester="Ville de Bagnolet")))
    about = "Manifest, instructions and digests agree, and are not those that were signed."
    extract = pack({**other, SIGNATURE: found[SIGNATURE]})
    yield refused("digests-and-manifest-of-another", about, extract, BAD, SIGNATURE)


def _bad() -> Iterator[tuple[str, str, str, bytes]]:
    content = digests_of(short())
    other = authority.sign(content + b"\n", chain=CHAIN, at=AT)
    yield "signature-of-another-content", "The signature is over other bytes.", BAD, other
    values = cms._parse(authority.sign(content, chain=CHAIN, at=AT))
    r, s = read_ecdsa(values.value)
    forged = replace(values, value=ecdsa_value(r ^ 1, s))
    yield "signature-number-changed", "One bit of the signature's first number is turned.", BAD, cms._encode(forged)
    later = replace(values, signing_time=AT + timedelta(seconds=1))
    yield "signing-time-changed", "The signing time is a second later than it was signed.", BAD, cms._encode(later)
    twin = issue("Seals and extracts, twin", new_key(3), issuer=ROOT)
    swapped = replace(values, chain=(parse(twin.certificate),))
    about = "Another certificate of the same key and authority stands in the signature."
    yield "certificate-exchanged", about, BAD, cms._encode(swapped)


def _respelt() -> Iterator[tuple[str, str, str, bytes]]:
    good = authority.sign(digests_of(short()), chain=CHAIN, at=AT)
    values = cms._parse(good)
    r, s = read_ecdsa(values.value)
    high = cms._encode(replace(values, value=ecdsa_value(r, cms.P256_ORDER - s)))
    yield "signature-none", "There is no signature in its member.", MALFORMED, b""
    yield "signature-higher-twin", "The signature is the twin whose second number is above n/2.", MALFORMED, high
    yield "signature-byte-after", "A byte follows the signature.", MALFORMED, good + b"\0"
    version = good.replace(b"\x02\x01\x01\x31\x0d", b"\x02\x01\x03\x31\x0d", 1)
    yield "signature-other-version", "SignedData says it is of version 3.", MALFORMED, version
    sha512 = good.replace(bytes.fromhex("608648016503040201"), bytes.fromhex("608648016503040203"))
    yield "signature-other-digest", "The digest algorithm named is SHA-512.", MALFORMED, sha512
    info, data = (element for element in der.decode(good, limit_bytes=40_000).children)
    signed_data = data.children[0]
    *head, signers = (element.encoded for element in signed_data.children)
    # The whole again around a SignerInfo with one more field, or a list of revocations.
    signer = der.decode(signers, limit_bytes=40_000).children[0]
    unsigned = der.encode(0xA1, der.sequence(der.object_identifier("1.2.3"), der.set_of(der.TRUE)))
    longer = der.sequence(*(element.encoded for element in signer.children), unsigned)

    def around(*parts: bytes) -> bytes:
        return der.sequence(info.encoded, der.encode(0xA0, der.sequence(*parts)))

    spelt = around(*head, der.set_of(longer))
    yield "signature-unsigned-attribute", "The signer's information has an unsigned attribute.", MALFORMED, spelt
    spelt = around(*head, der.encode(0xA1), signers)
    yield "signature-revocations", "A list of revocations is present, and empty.", MALFORMED, spelt
    spelt = around(*head, der.encode(0x31, signer.encoded, signer.encoded))
    yield "signature-two-signers", "There are two signers, twice the same.", MALFORMED, spelt
    about = "The outermost length is indefinite (BER)."
    yield "signature-indefinite-length", about, MALFORMED, b"\x30\x80" + info.encoded + data.encoded + b"\0\0"


def _signer(*extensions: bytes, **shape: object) -> tuple[authority.Holder, ...]:
    shape = {"issuer": ROOT, "extensions": extensions or SIGNER, **shape}
    return (issue("Seals and extracts", new_key(3), **shape),)  # type: ignore[arg-type] # any shape


def _under(**shape: object) -> tuple[authority.Holder, ...]:
    shape = {"issuer": ROOT, "extensions": AUTHORITY, **shape}
    middle = issue("Issuing authority", new_key(2), **shape)  # type: ignore[arg-type] # any shape
    return issue("Seals and extracts", new_key(3), issuer=middle), middle


def _chains() -> Iterator[tuple[str, str, tuple[authority.Holder, ...]]]:
    yield "signer-self-made", "The certificate is signed by its own key.", _signer(issuer=None)
    forged_root = issue("Root authority", new_key(31), extensions=AUTHORITY)
    yield "root-of-the-same-name", "The certificate is by another root of the same name.", _signer(issuer=forged_root)
    yield "signer-of-another-root", "The certificate is by an authority nobody trusts.", _signer(issuer=OTHER_ROOT)
    other = authority.alternative_names(authority.dns_name("other.example.fr"))
    yield "signer-of-another-service", "The certificate is of another service.", _signer(*SIGNER[:3], other)
    both = authority.alternative_names(authority.dns_name(authority.SERVICE), authority.dns_name("other.example.fr"))
    yield "signer-of-two-services", "The certificate names two services.", _signer(*SIGNER[:3], both)
    about = "The certificate names neither a service nor an organisation."
    yield "signer-without-service", about, _signer(*SIGNER[:3])
    second = timedelta(seconds=1)
    yield "signer-expired", "The certificate ends a second before the signature.", _signer(end=AT - second)
    yield "signer-not-yet-valid", "The certificate begins a second after the signature.", _signer(begin=AT + second)
    yield "signer-without-key-usage", "The certificate has no key usage.", _signer(SIGNER[0], *SIGNER[2:])
    wrong = authority.key_usage(authority.KEY_CERT_SIGN)
    yield "signer-other-key-usage", "The key may only sign certificates.", _signer(SIGNER[0], wrong, *SIGNER[2:])
    digital = authority.key_usage(authority.DIGITAL_SIGNATURE)
    about = "The key's usage is digitalSignature without nonRepudiation."
    yield "signer-repudiable", about, _signer(SIGNER[0], digital, *SIGNER[2:])
    none = authority.extended_key_usage()
    about = "The certificate has an empty extended key usage."
    yield "signer-without-purpose", about, _signer(*SIGNER[:2], none, SIGNER[3])
    server = authority.extended_key_usage("1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.8")
    about = "The certificate is for a server of TLS and for time-stamps."
    yield "signer-other-purpose", about, _signer(*SIGNER[:2], server, SIGNER[3])
    is_authority = authority.basic_constraints(der.TRUE)
    yield "signer-an-authority", "The signer's certificate is an authority's.", _signer(is_authority, *SIGNER[1:])
    critical = authority.extension("1.2.3.4", b"\x05\x00", critical=True)
    yield "signer-critical-extension", "A critical extension nobody knows.", _signer(*SIGNER, critical)
    yield "intermediate-missing", "The certificate's issuer is not in the signature.", _under()[:1]
    yield "root-in-the-signature", "The root stands among the certificates.", (*_under(), ROOT)
    yield "intermediate-no-authority", "The intermediate is no authority.", _under(extensions=SIGNER)
    none_below = (authority.basic_constraints(der.TRUE, der.integer(0)), AUTHORITY[1])
    upper = issue("Upper", new_key(4), issuer=ROOT, extensions=none_below)
    yield "path-too-long", "An intermediate allows none below it, and has one.", (*_under(issuer=upper), upper)
    yield "intermediate-expired", "The intermediate ends before the signature.", _under(end=AT - second)
    no_sign = (AUTHORITY[0], authority.key_usage(authority.DIGITAL_SIGNATURE))
    about = "The intermediate's key may not sign certificates."
    yield "intermediate-may-not-certify", about, _under(extensions=no_sign)


def _digests() -> Iterator[Case]:
    extract = short()
    content = digests_of(extract)
    for name, about, changed in (
        ("digests-comment", "An XML comment follows the digests.", content + b"<!-- -->"),
        ("digests-other-algorithm", "SHA-512 is named.", content.replace(b"xmlenc#sha256", b"xmlenc#sha512")),
        ("digests-respelt", "One space more between two attributes.", content.replace(b" URI=", b"  URI=", 1)),
        ("digests-cr-lf", "Lines end in CR LF.", content.replace(b"\n", b"\r\n")),
        ("digests-unused-bits", "A digest in base64 has unused bits set.", _unused_bits(content)),
    ):
        yield refused(name, f"{about} Signed.", with_parts(extract, {DIGESTS: changed}), MALFORMED, DIGESTS)


def _unused_bits(content: bytes) -> bytes:
    place = content.index(b"=</ds:DigestValue>") - 1
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = alphabet[alphabet.index(content[place]) + 1]
    return content[:place] + bytes([other]) + content[place + 1 :]

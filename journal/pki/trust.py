"""Certification paths: the profile of every certificate in a path, and the path to a trust anchor.

The rules are those of RFC 5280 §6 for paths of one shape: a signer, at most two intermediates, and a trust
anchor of the auditor. What these rules do not cover (policies, name constraints, unknown critical extensions,
self-issued authorities) is refused, not ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from journal.core.errors import MalformedError, UntrustedError
from journal.pki import der
from journal.pki.certificates import CERTIFICATE_LIMIT_BYTES, Certificate, is_signed_by, organisation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

CHAIN_LIMIT = 3  # the signer and at most two intermediates
TIME_STAMPING = der.object_identifier("1.3.6.1.5.5.7.3.8")
# What a certificate of this organisation vouches for is for trials: the service made the authority itself.
DEVELOPMENT = "OpenEPM journal development authority"

# Keys of servers, of time-stamping authorities and of those who tell of revocation sign no seal.
_OTHER_PURPOSES = frozenset(
    {TIME_STAMPING, der.object_identifier("1.3.6.1.5.5.7.3.1"), der.object_identifier("1.3.6.1.5.5.7.3.9")}
)

_SUBJECT_ALTERNATIVE_NAME = der.object_identifier("2.5.29.17")
_BASIC_CONSTRAINTS = der.object_identifier("2.5.29.19")
_KEY_USAGE = der.object_identifier("2.5.29.15")
_EXTENDED_KEY_USAGE = der.object_identifier("2.5.29.37")
_NAME_CONSTRAINTS = der.object_identifier("2.5.29.30")
_KNOWN_EXTENSIONS = frozenset({_SUBJECT_ALTERNATIVE_NAME, _BASIC_CONSTRAINTS, _KEY_USAGE, _EXTENDED_KEY_USAGE})
# Bits 0, 1 and 5 of the first octet, RFC 5280 §4.2.1.3; nonRepudiation is contentCommitment in newer texts.
_DIGITAL_SIGNATURE, _NON_REPUDIATION, _KEY_CERT_SIGN = 0x80, 0x40, 0x04
_DNS_NAME = 0x82


@dataclass(frozen=True)
class Anchor:
    """A trust anchor that a path has led to, for people to compare."""

    subject: str
    sha256: bytes
    is_development: bool


def check_signer(certificate: Certificate, service: str) -> None:
    """Refuse a signer that names another service, or neither a service nor an organisation: UntrustedError.

    A certificate with dNSNames names exactly this service. Another is an organisation's seal.
    """
    names = dns_names(certificate)
    if names and names != [service]:
        raise UntrustedError(f"it is not issued for {service}", part=certificate.name)
    if not names and organisation(certificate) is None:
        raise UntrustedError("it names neither a service nor one organisation", part=certificate.name)


def check_expected(certificate: Certificate, anchors: Sequence[Certificate]) -> bool:
    """Refuse the seal of an organisation that the auditor does not expect: UntrustedError.

    The certificates among the auditor's that are no authority's name the organisations expected. Return whether there
    are any. A signer's certificate that names the service needs none.
    """
    named = [organisation(anchor) for anchor in anchors if not _basic_constraints(anchor)[0]]
    expected = [one for one in named if one is not None]
    mine = organisation(certificate)
    if not expected or mine is None or dns_names(certificate):
        return bool(expected)
    if not any(mine.is_same(other) for other in expected):
        raise UntrustedError("it is the seal of another organisation than the auditor expects", part=certificate.name)
    return True


def check_valid(certificate: Certificate, at: datetime) -> None:
    """Refuse a certificate outside its validity, both ends included: UntrustedError."""
    if not certificate.not_before <= at <= certificate.not_after:
        raise UntrustedError(
            f"it is valid from {certificate.not_before:%Y-%m-%dT%H:%M:%SZ} to "
            f"{certificate.not_after:%Y-%m-%dT%H:%M:%SZ}, not at {at:%Y-%m-%dT%H:%M:%SZ}",
            part=certificate.name,
        )


def check_chain(chain: Sequence[Certificate], *, purpose: bytes | None = None) -> None:
    """Check what needs neither a time nor a trust anchor: profile, names, path lengths, signatures within.

    `chain` goes from the signer to the certificate that the trust anchor issued; it holds no root, and no
    certificate that is not used. `purpose` is an extended key usage, for signatures None.
    Raises UntrustedError, or MalformedError where something cannot be parsed.
    """
    if not 1 <= len(chain) <= CHAIN_LIMIT:
        raise UntrustedError(f"a chain of {len(chain)} certificates")
    _check_signer(chain[0], purpose)
    for below, authority in enumerate(chain[1:]):
        _check_authority(authority, below=below, purpose=purpose)
    for certificate in chain:
        if certificate.issuer.encoded == certificate.subject.encoded:
            raise UntrustedError("a chain holds no self-issued certificate", part=certificate.name)
    for certificate, issuer in zip(chain, chain[1:]):
        if certificate.issuer.encoded != issuer.subject.encoded or not is_signed_by(certificate, issuer):
            raise UntrustedError("it was not issued by the next certificate of its chain", part=certificate.name)


def check_path(
    chain: Sequence[Certificate],
    anchors: Sequence[Certificate],
    *,
    at: datetime,
    purpose: bytes | None = None,
) -> Anchor:
    """Return the trust anchor that a chain leads to; every certificate of the path is valid at `at`.

    The trust anchor is found by its subject and key, never by what the chain says about itself.
    Raises UntrustedError, or MalformedError where something cannot be parsed.
    """
    check_chain(chain, purpose=purpose)
    last = chain[-1]
    named = [anchor for anchor in anchors if anchor.subject.encoded == last.issuer.encoded]
    anchor = next((anchor for anchor in named if is_signed_by(last, anchor)), None)
    if anchor is None:
        raise UntrustedError("it was not issued by a certificate the auditor trusts", part=last.name)
    _check_authority(anchor, below=len(chain) - 1, purpose=purpose)
    for certificate in (*chain, anchor):
        check_valid(certificate, at)
    vouching = organisation(anchor)
    is_development = vouching is not None and vouching.name == DEVELOPMENT
    return Anchor(subject=anchor.name, sha256=sha256(anchor.encoded).digest(), is_development=is_development)


def dns_names(certificate: Certificate) -> list[str]:
    """Return the dNSNames of its subject alternative name (RFC 5280 §4.2.1.6), in order."""
    names = _members(certificate, _SUBJECT_ALTERNATIVE_NAME) or ()
    try:
        return [name.content.decode("ascii") for name in names if name.tag == _DNS_NAME]
    except UnicodeDecodeError as error:
        raise MalformedError("a dNSName is not ASCII", part=certificate.name) from error


def _extension(certificate: Certificate, identifier: bytes) -> der.Element | None:
    found = certificate.extensions.get(identifier)
    return None if found is None else der.decode(found[1], limit_bytes=CERTIFICATE_LIMIT_BYTES)


def _members(certificate: Certificate, identifier: bytes) -> tuple[der.Element, ...] | None:
    found = _extension(certificate, identifier)
    return None if found is None else found.members(der.SEQUENCE)


def _check_signer(certificate: Certificate, purpose: bytes | None) -> None:
    if purpose is None:
        _check_extensions(certificate, _NON_REPUDIATION, "nonRepudiation")
    else:
        _check_extensions(certificate, _DIGITAL_SIGNATURE | _NON_REPUDIATION, "digitalSignature and nonRepudiation")
    if _basic_constraints(certificate)[0]:
        raise UntrustedError("it is an authority's certificate, and cannot be a signer's", part=certificate.name)
    if not _serves(certificate, purpose):
        raise UntrustedError("its extended key usage is for other purposes", part=certificate.name)


def _check_authority(certificate: Certificate, *, below: int, purpose: bytes | None) -> None:
    """Check an authority; `below` counts the authorities between it and the signer (RFC 5280 §4.2.1.9)."""
    _check_extensions(certificate, _KEY_CERT_SIGN, "keyCertSign")
    authority, path_length = _basic_constraints(certificate)
    if not authority or (path_length is not None and path_length < below):
        raise UntrustedError("it is not an authority, or not for a path of this length", part=certificate.name)
    # Its extended key usage limits the authority to what it certifies, as OpenSSL has it.
    if not _serves(certificate, purpose):
        raise UntrustedError("it is an authority for other purposes", part=certificate.name)


def _serves(certificate: Certificate, purpose: bytes | None) -> bool:
    """Tell whether the extended key usage, if there is one, allows this purpose; None: one that fits signatures."""
    purposes = _purposes(certificate)
    if purposes is None:
        return True
    return purpose in purposes if purpose is not None else any(one not in _OTHER_PURPOSES for one in purposes)


def _check_extensions(certificate: Certificate, usage: int, usage_name: str) -> None:
    critical = {identifier for identifier, (critical, _) in certificate.extensions.items() if critical}
    # We do not apply name constraints, so they must not be ignored, critical or not.
    if critical - _KNOWN_EXTENSIONS or _NAME_CONSTRAINTS in certificate.extensions:
        raise UntrustedError("it has an extension we do not apply", part=certificate.name)
    found = _extension(certificate, _KEY_USAGE)
    if found is None or not (found.bits() or b"\x00")[0] & usage:
        raise UntrustedError(f"its key usage lacks {usage_name}", part=certificate.name)


def _basic_constraints(certificate: Certificate) -> tuple[bool, int | None]:
    """Return (is an authority, path length); not an authority without the extension (RFC 5280 §6.1.4 k)."""
    members = _members(certificate, _BASIC_CONSTRAINTS)
    if not members:
        return False, None
    flag, *lengths = members
    limits = [length.integer() for length in lengths]
    if flag.encoded != der.TRUE or len(limits) > 1 or any(limit < 0 for limit in limits):
        raise MalformedError("basic constraints are not in their one encoding", part=certificate.name)
    return True, limits[0] if limits else None


def _purposes(certificate: Certificate) -> list[bytes] | None:
    members = _members(certificate, _EXTENDED_KEY_USAGE)
    return None if members is None else [purpose.encoded for purpose in members]

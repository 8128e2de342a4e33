"""The recipient of hand-overs and exports: a commune's certificate, and when it may be used."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import rsa

from journal.core.errors import OperatorError, VerificationError
from journal.pki import certificates, der

if TYPE_CHECKING:
    from datetime import datetime

    from journal.pki.certificates import Certificate, PublicKey

_KEY_USAGE = der.object_identifier("2.5.29.15")
# Bits 2 and 4 of the first octet, RFC 5280 §4.2.1.3.
_KEY_ENCIPHERMENT, _KEY_AGREEMENT = 0x20, 0x08


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """A certificate that can be encrypted to: RSA of 2048 bits or more, P-256 or P-384."""

    certificate: Certificate
    key: PublicKey

    @property
    def sha256(self) -> bytes:
        """Its fingerprint, for comparison with the commune's own copy."""
        return sha256(self.certificate.encoded).digest()

    @property
    def issuer_and_serial_number(self) -> bytes:
        """IssuerAndSerialNumber (RFC 5652 §10.2.4), in DER."""
        return der.sequence(self.certificate.issuer.encoded, der.integer(self.certificate.serial))

    def check_valid(self, at: datetime) -> None:
        """Raise OperatorError unless the certificate is valid at that time."""
        begin, end = self.certificate.not_before, self.certificate.not_after
        if not begin <= at <= end:
            raise OperatorError(
                f"the recipient's certificate is valid from {begin:%Y-%m-%dT%H:%M:%SZ} to {end:%Y-%m-%dT%H:%M:%SZ}, "
                f"not at {at:%Y-%m-%dT%H:%M:%SZ}: ask the commune for a current one"
            )


def read_recipient(encoded: bytes) -> Recipient:
    """Read a recipient's certificate (DER). Raises OperatorError saying what to ask the commune for."""
    try:
        certificate = certificates.parse(encoded)
        key = certificates.public_key(certificate)
        usage = _key_usage(certificate)
    except VerificationError as error:
        raise OperatorError(
            f"this certificate cannot be encrypted to ({error}): "
            "ask for X.509 version 3 with an RSA key of 2048 bits or more, or P-256 or P-384"
        ) from error
    name, needed = (
        ("keyEncipherment", _KEY_ENCIPHERMENT)
        if isinstance(key, rsa.RSAPublicKey)
        else ("keyAgreement", _KEY_AGREEMENT)
    )
    if usage is not None and not usage & needed:
        raise OperatorError(f"its key usage lacks {name}: ask the commune for a certificate made for encryption")
    return Recipient(certificate=certificate, key=key)


def read_recipient_pem(pem: bytes) -> Recipient:
    """Read the one certificate of a PEM file. Raises OperatorError."""
    if b"PRIVATE KEY" in pem:
        raise OperatorError(
            "this file holds a private key, which only the commune may have: destroy this copy, "
            "have a new key made, and ask for the certificate only"
        )
    try:
        found = certificates.pem_to_der(pem)
    except VerificationError as error:
        raise OperatorError(f"this file is no certificate in PEM form: {error}") from error
    if len(found) != 1:
        raise OperatorError(f"this file holds {len(found)} certificates: give only the recipient's")
    return read_recipient(found[0])


def _key_usage(certificate: Certificate) -> int | None:
    """Return the first octet of the key usage; None without that extension, which allows every use."""
    extension = certificate.extensions.get(_KEY_USAGE)
    if extension is None:
        return None
    bits = der.decode(extension[1], limit_bytes=certificates.CERTIFICATE_LIMIT_BYTES).bits()
    return bits[0] if bits else 0

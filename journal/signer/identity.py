"""The signing identity: the service's key and certificate chain.

Trust sentence: whoever reads the signing key can sign anything as this service until its certificate
expires; an outside witness (a known seal, a time-stamp) limits that to what came after it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from journal.core.errors import ExpiredCertificateError, OperatorError, VerificationError
from journal.core.receipt import looks_like_receipt_key
from journal.core.seal import looks_like_seal
from journal.core.times import format_seconds
from journal.pki import cms, trust
from journal.pki.certificates import RSA_MODULUS_BITS, Organisation, organisation, parse, pem_to_der, public_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from journal.core.receipt import ReceiptKey
    from journal.core.seal import Seal

    PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

OTHERS = 0o007
PDF_BEGINNING = b"%PDF-"


class Certified:
    """The service as its certificates name it: what everybody may know of the signing identity."""

    def __init__(self, certificates: list[bytes], service: str | None = None) -> None:
        """Check that the certificates fit the profile.

        `certificates` are DER: the signer's, then its intermediates, no root. `service` is the name of the service that
        an organisation's seal, which names none, signs for; a certificate that names one is believed.
        Raises VerificationError if a verifier would refuse them, OperatorError if they name several services, or none
        and no `service` is given.
        """
        chain = [parse(certificate) for certificate in certificates]
        trust.check_chain(chain)
        names = trust.dns_names(chain[0])
        if len(names) > 1:
            raise OperatorError(f"the signing certificate names {len(names)} services; it must name one, or none")
        if not names and service is None:
            raise OperatorError("the signing certificate names no service: set JOURNAL_SERVICE_NAME")
        self._chain = chain
        self.certificates = certificates
        self.names_service = bool(names)
        self.service = names[0] if names else str(service)
        trust.check_signer(chain[0], self.service)

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the signer's certificate, in hexadecimal."""
        return sha256(self.certificates[0]).hexdigest()

    @property
    def subject(self) -> str:
        """Return the signer's name, for people."""
        return self._chain[0].name

    @property
    def organisation(self) -> Organisation | None:
        """Return whose seal it is, if the certificate says so."""
        return organisation(self._chain[0])

    def anchor(self, anchors: Sequence[bytes], at: datetime) -> trust.Anchor:
        """Return the trust anchor (of these, DER) that vouches for it at that time. Raises VerificationError."""
        given = [parse(anchor) for anchor in anchors]
        trust.check_expected(self._chain[0], given)
        return trust.check_path(self._chain, given, at=at)

    @property
    def not_before(self) -> datetime:
        """Return the first moment at which the whole chain is valid."""
        return max(certificate.not_before for certificate in self._chain)

    @property
    def not_after(self) -> datetime:
        """Return the last moment at which the whole chain is valid."""
        return min(certificate.not_after for certificate in self._chain)

    def check_valid(self, at: datetime) -> datetime:
        """Return `at` to the second.

        Raises OperatorError if the certificates are not valid yet at that time, ExpiredCertificateError if they have
        expired.
        """
        second = to_second(at)
        refused = f"nothing is signed at {format_seconds(second)}: the certificate of {self.service}"
        if second > self.not_after:
            raise ExpiredCertificateError(
                f"{refused} expired on {format_seconds(self.not_after)}: install a renewed one, "
                "or correct this machine's clock",
                not_after=self.not_after,
            )
        if second < self.not_before:
            raise OperatorError(
                f"{refused} is valid only from {format_seconds(self.not_before)}: correct this machine's clock"
            )
        return second


class SigningIdentity(Certified):
    """A key of the profile and its certificates; the key never leaves this object."""

    def __init__(self, key: PrivateKey, certificates: list[bytes], service: str | None = None) -> None:
        """Check that the certificates fit the profile and the key.

        Raises as `Certified` does, and OperatorError if they do not certify this key.
        """
        super().__init__(certificates, service)
        if public_key(self._chain[0]) != key.public_key():
            raise OperatorError("the signing key is not the key of the signing certificate")
        self._key = key

    def sign(self, content: bytes, at: datetime) -> bytes:
        """Return the detached signature (DER) of `content`, with the signing time `at`, to the second.

        Raises OperatorError if the certificates are not valid at that time, ValueError if the content begins like a
        seal, which only a sealing session signs, after it has compared it with what was signed before, or like the
        delegation of a receipt key, which the signer alone writes.
        """
        if looks_like_seal(content):
            raise ValueError("a text that begins like a seal is signed in a sealing session alone")
        if looks_like_receipt_key(content):
            raise ValueError("a text that begins like the delegation of a receipt key is written by the signer alone")
        return self._sign(content, at)

    def sign_seal(self, seal: Seal) -> bytes:
        """Return the signature of a seal, at its own time. Raises OperatorError as `sign` does."""
        return self._sign(seal.text, seal.sealed_at)

    def sign_receipt_key(self, delegation: ReceiptKey) -> bytes:
        """Return the signature of a delegation, at its beginning. Raises OperatorError as `sign` does."""
        return self._sign(delegation.text, delegation.valid_from)

    def sign_document(self, attributes: bytes, content: bytes, at: datetime) -> bytes:
        """Return the bare signature of a PDF's signed attributes, as `sign_raw` does.

        `content` are the bytes that the document's signature covers. Raises OperatorError as `sign` does, ValueError if
        they are not those of a PDF, MalformedError unless the attributes are of a kind that no other signature has.
        """
        self.check_valid(at)
        if not content.startswith(PDF_BEGINNING):
            raise ValueError("what is to be signed as a document is no PDF")
        cms.check_document_attributes(attributes, sha256(content).digest(), self.certificates[0])
        return self.sign_raw(attributes)

    def _sign(self, content: bytes, at: datetime) -> bytes:
        return cms.sign(
            sha256(content).digest(),
            certificates=self.certificates,
            signing_time=self.check_valid(at),
            sign_bytes=self.sign_raw,
        )

    def sign_raw(self, data: bytes) -> bytes:
        """Return the bare signature of any bytes; within this process only.

        It is by SHA-256: ECDSA (RFC 3279 section 2.2.3), or RSA PKCS #1 v1.5.
        """
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return self._key.sign(data, ec.ECDSA(hashes.SHA256()))

    def derive_key(self, label: bytes) -> bytes:
        """Return 32 bytes that only the holder of the signing key can derive (HKDF, SHA-256, info `label`)."""
        numbers = self._key.private_numbers()
        secret = numbers.d if isinstance(numbers, rsa.RSAPrivateNumbers) else numbers.private_value
        return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=label).derive(
            secret.to_bytes(-(-self._key.key_size // 8), "big")
        )


def load(key_path: Path, cert_path: Path, service: str | None = None) -> SigningIdentity:
    """Read a signing key (PEM, not encrypted) and its certificates (PEM, signer first, no root).

    `service` is the one an organisation's seal signs for.
    Raises OperatorError naming the file and what to do.
    """
    key = read_key(key_path)
    certificates = load_certified(cert_path, service).certificates
    try:
        return SigningIdentity(key, certificates, service)
    except OperatorError as error:
        raise OperatorError(f"signing key {key_path}, certificate {cert_path}: {error}") from error


def load_certified(cert_path: Path, service: str | None = None) -> Certified:
    """Read the certificates alone. Raises OperatorError naming the file and what to do."""
    try:
        return Certified(pem_to_der(cert_path.read_bytes()), service)
    except OSError as error:
        raise OperatorError(f"signing certificate {cert_path} cannot be read: {error.strerror}") from error
    except VerificationError as error:
        raise OperatorError(
            f"signing certificate {cert_path} is refused, as every verifier would refuse it: {error}"
        ) from error
    except OperatorError as error:
        raise OperatorError(f"signing certificate {cert_path}: {error}") from error


def read_key(path: Path) -> PrivateKey:
    """Read a key (PEM, not encrypted, closed to others): P-256, P-384, or RSA of 3072 to 8192 bits.

    Raises OperatorError naming the file and what to do.
    """
    try:
        if path.stat().st_mode & OTHERS:
            raise OperatorError(f"signing key {path} is open to everyone on this machine: chmod 600 it")
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise OperatorError(f"signing key {path} cannot be read: {error.strerror}") from error
    except TypeError as error:
        raise OperatorError(f"signing key {path} is encrypted: give it in clear, mode 0600") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise OperatorError(f"signing key {path} is not a private key in PEM form") from error
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
        return key
    if isinstance(key, rsa.RSAPrivateKey) and cms.RSA_SIGNER_BITS <= key.key_size < RSA_MODULUS_BITS.stop:
        return key
    raise OperatorError(f"signing key {path} is not a P-256 or P-384 key, nor RSA of 3072 to 8192 bits")


def to_second(moment: datetime) -> datetime:
    """Return an aware time in UTC, rounded down to the second. Raises ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment.astimezone(UTC).replace(microsecond=0)

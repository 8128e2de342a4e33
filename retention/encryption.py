"""CMS AuthEnvelopedData (RFC 5083) to one recipient, written as it streams: no plaintext is kept anywhere.

The content is AES-256-GCM (RFC 5084): decryption fails if a byte was changed. The EnvelopedData of RFC 5652 has no
authenticated mode, and a changed byte in its AES-CBC goes unnoticed.
The content key is wrapped with RSAES-OAEP and SHA-256 (RFC 4056), or with AES-256 key wrap under a key agreed by
one-pass ECDH and the X9.63 key derivation with SHA-256 (RFC 5753). The length is not known before the end:
the outer structures are BER of indefinite length (X.690 §8.1.3.6), everything inside is DER. Debian 12's
`openssl cms -decrypt -binary -inform DER -in FILE -recip CERTIFICATE -inkey KEY -out EXTRACT` opens all three kinds.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from journal.pki import der

if TYPE_CHECKING:
    from journal.admin.recipient import Recipient

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
SEGMENT_BYTES = 256 * 1024

_AUTH_ENVELOPED_DATA = der.object_identifier("1.2.840.113549.1.9.16.1.23")
_DATA = der.object_identifier("1.2.840.113549.1.7.1")
_AES256_GCM = der.object_identifier("2.16.840.1.101.3.4.1.46")
_AES256_WRAP = der.sequence(der.object_identifier("2.16.840.1.101.3.4.1.45"))
_ECDH_SHA256_KDF = der.object_identifier("1.3.132.1.11.1")  # dhSinglePass-stdDH-sha256kdf-scheme
_EC_PUBLIC_KEY = der.sequence(der.object_identifier("1.2.840.10045.2.1"))
_SHA256 = der.sequence(der.object_identifier("2.16.840.1.101.3.4.2.1"))
_OAEP_SHA256 = der.sequence(
    der.object_identifier("1.2.840.113549.1.1.7"),
    der.sequence(
        der.encode(0xA0, _SHA256),
        der.encode(0xA1, der.sequence(der.object_identifier("1.2.840.113549.1.1.8"), _SHA256)),
    ),
)
_CONTEXT_0, _CONTEXT_1, _CONTEXT_2 = 0xA0, 0xA1, 0xA2
_INDEFINITE = 0x80
_END = b"\0\0"


class Encryption:
    """Encrypts one content: call `start`, `update` any number of times, `finish`, and join the bytes they return."""

    def __init__(self, recipient: Recipient) -> None:
        """Draw a content key and wrap it for the recipient."""
        key, self._nonce = os.urandom(KEY_BYTES), os.urandom(NONCE_BYTES)
        self._encryptor = Cipher(algorithms.AES(key), modes.GCM(self._nonce)).encryptor()
        self._recipient_info = _recipient_info(recipient, key)
        self._waiting = bytearray()

    def start(self) -> bytes:
        """Return the bytes before the content."""
        parameters = der.sequence(der.octet_string(self._nonce), der.integer(TAG_BYTES))
        return b"".join(
            (
                _open(der.SEQUENCE),
                _AUTH_ENVELOPED_DATA,
                _open(_CONTEXT_0),
                _open(der.SEQUENCE),
                der.integer(0),
                der.set_of(self._recipient_info),
                _open(der.SEQUENCE),
                _DATA,
                der.sequence(_AES256_GCM, parameters),
                _open(_CONTEXT_0),
            )
        )

    def update(self, content: bytes) -> bytes:
        """Take more of the content; return ciphertext, possibly none yet."""
        self._waiting += content
        if len(self._waiting) < SEGMENT_BYTES:
            return b""
        return self._segment()

    def finish(self) -> bytes:
        """Return the rest: the end of the content, and its authentication tag."""
        segment = self._segment() if self._waiting else b""
        self._encryptor.finalize()
        return segment + _END + _END + der.octet_string(self._encryptor.tag) + _END + _END + _END

    def _segment(self) -> bytes:
        segment = der.octet_string(self._encryptor.update(bytes(self._waiting)))
        self._waiting.clear()
        return segment


def _open(tag: int) -> bytes:
    return bytes((tag, _INDEFINITE))


def _recipient_info(recipient: Recipient, key: bytes) -> bytes:
    if isinstance(recipient.key, rsa.RSAPublicKey):
        return _key_transport(recipient, recipient.key, key)
    return _key_agreement(recipient, recipient.key, key)


def _key_transport(recipient: Recipient, public_key: rsa.RSAPublicKey, key: bytes) -> bytes:
    """Return a KeyTransRecipientInfo (RFC 5652 §6.2.1)."""
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    wrapped = public_key.encrypt(key, oaep)
    return der.sequence(der.integer(0), recipient.issuer_and_serial_number, _OAEP_SHA256, der.octet_string(wrapped))


def _key_agreement(recipient: Recipient, public_key: ec.EllipticCurvePublicKey, key: bytes) -> bytes:
    """Return a KeyAgreeRecipientInfo, in its context tag (RFC 5652 §6.2.2, RFC 5753 §3.1.1)."""
    ephemeral = ec.generate_private_key(public_key.curve)
    # ECC-CMS-SharedInfo, RFC 5753 §7.2: the key wrap algorithm, and the length of its key in bits.
    length = der.encode(_CONTEXT_2, der.octet_string((8 * KEY_BYTES).to_bytes(4, "big")))
    derivation = X963KDF(hashes.SHA256(), KEY_BYTES, der.sequence(_AES256_WRAP, length))
    wrapped = aes_key_wrap(derivation.derive(ephemeral.exchange(ec.ECDH(), public_key)), key)
    point = ephemeral.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    originator = der.encode(_CONTEXT_1, _EC_PUBLIC_KEY, der.encode(der.BIT_STRING, b"\0", point))
    return der.encode(
        _CONTEXT_1,
        der.integer(3),
        der.encode(_CONTEXT_0, originator),
        der.sequence(_ECDH_SHA256_KDF, _AES256_WRAP),
        der.sequence(der.sequence(recipient.issuer_and_serial_number, der.octet_string(wrapped))),
    )

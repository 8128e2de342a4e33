"""Certificates that hand-overs are encrypted to, and files that Debian's openssl opens with their keys."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from journal.admin.recipient import Recipient, read_recipient, read_recipient_pem
from journal.core.errors import OperatorError
from journal.pki.certificates import der_to_pem
from retention.encryption import SEGMENT_BYTES, Encryption
from tests.support.authority import DIGITAL_SIGNATURE, NOW, YEAR, Holder, issue, key_usage, new_key

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

KEY_ENCIPHERMENT, KEY_AGREEMENT = 0x20, 0x08
KINDS = ("RSA 2048", "RSA 3072", "P-256", "P-384")
SECOND = timedelta(seconds=1)


@cache
def holder(kind: str) -> Holder:
    """Return a commune's certificate and key of a kind."""
    family, size = kind.replace("-", " ").split()
    if family == "RSA":
        return issue("Mairie d'Albi", _rsa(int(size)), issuer=_issuer(), extensions=(key_usage(KEY_ENCIPHERMENT),))
    curve = {"256": ec.SECP256R1(), "384": ec.SECP384R1(), "521": ec.SECP521R1()}[size]
    key = ec.derive_private_key(0xA1B1, curve)
    return issue("Mairie d'Albi", key, issuer=_issuer(), extensions=(key_usage(KEY_AGREEMENT),))


@cache
def _rsa(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def _issuer() -> Holder:
    return issue("Autorité", new_key(9))


def encrypt(recipient: Recipient, chunks: Iterable[bytes]) -> bytes:
    """Encrypt a content that comes in chunks."""
    encryption = Encryption(recipient)
    return b"".join([encryption.start(), *map(encryption.update, chunks), encryption.finish()])


def decrypt(directory: Path, encrypted: bytes, kind: str) -> bytes | None:
    """Open a file as the commune does; None where openssl says no."""
    owner = holder(kind)
    pem = owner.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "key.pem").write_bytes(pem)
    (directory / "cert.pem").write_bytes(der_to_pem([owner.certificate]))
    (directory / "file.p7m").write_bytes(encrypted)
    done = subprocess.run(
        ["openssl", "cms", "-decrypt", "-binary", "-inform", "DER", "-in", directory / "file.p7m",
         "-recip", directory / "cert.pem", "-inkey", directory / "key.pem", "-out", directory / "out"],
        capture_output=True, check=False,
    )  # fmt: skip
    return (directory / "out").read_bytes() if done.returncode == 0 else None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 1, SEGMENT_BYTES - 1, SEGMENT_BYTES, 3 * SEGMENT_BYTES + 5])
def test_openssl_opens_what_was_encrypted(tmp_path: Path, kind: str, size: int) -> None:
    """In whatever chunks the content came, with no option but certificate and key."""
    content = bytes(range(251)) * (size // 251 + 1)
    content = content[:size]
    chunks = [content[start : start + 70_001] for start in range(0, size, 70_001)]
    encrypted = encrypt(read_recipient(holder(kind).certificate), chunks)
    assert size < 64 or content[:64] not in encrypted
    assert decrypt(tmp_path, encrypted, kind) == content


@pytest.mark.parametrize("kind", ["RSA 2048", "P-256"])
def test_nobody_else_opens_it(tmp_path: Path, kind: str) -> None:
    """Another key of the same kind does not, nor does one of another kind."""
    encrypted = encrypt(read_recipient(holder(kind).certificate), [b"entries"])
    assert [other for other in KINDS if decrypt(tmp_path, encrypted, other) is not None] == [kind]


@pytest.mark.parametrize("kind", ["RSA 2048", "P-384"])
def test_a_changed_byte_does_not_open(tmp_path: Path, kind: str) -> None:
    """Wherever it is in the content or its tag, and also where the end is missing."""
    encrypted = encrypt(read_recipient(holder(kind).certificate), [bytes(3000)])
    end = len(encrypted) - 6  # the ends of the outer structures, two octets each
    for place in (*range(end - 16, end), *range(end - 3000, end - 40, 97)):
        changed = bytearray(encrypted)
        changed[place] ^= 1
        assert decrypt(tmp_path, bytes(changed), kind) is None, place
    assert decrypt(tmp_path, encrypted[:-1], kind) is None
    assert decrypt(tmp_path, encrypted[: len(encrypted) // 2], kind) is None


def test_no_two_files_are_alike() -> None:
    """Each has its own content key and nonce."""
    recipient = read_recipient(holder("P-256").certificate)
    assert encrypt(recipient, [b"same"]) != encrypt(recipient, [b"same"])


class TestCertificate:
    """What may be registered."""

    @pytest.mark.parametrize(
        ("made", "words"),
        [
            (lambda: issue("a", _rsa(1024)), "RSA"),
            (lambda: holder("P-521"), "kind"),
            (lambda: issue("a", new_key(1), extensions=(key_usage(DIGITAL_SIGNATURE),)), "keyAgreement"),
            (lambda: issue("a", new_key(1), extensions=(key_usage(KEY_ENCIPHERMENT),)), "keyAgreement"),
            (lambda: issue("a", _rsa(2048), extensions=(key_usage(KEY_AGREEMENT),)), "keyEncipherment"),
            (lambda: issue("a", new_key(1), version=1), "version 3"),
        ],
    )
    def test_what_cannot_be_encrypted_to_is_refused(self, made: object, words: str) -> None:
        """Each refusal says what to ask the commune for."""
        with pytest.raises(OperatorError, match=words):
            read_recipient(made().certificate)  # type: ignore[operator]  # a maker, so that keys are made once asked

    def test_a_key_of_another_kind_is_refused(self) -> None:
        """Ed25519 signs; nothing is encrypted to it."""
        spki = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )  # fmt: skip
        with pytest.raises(OperatorError, match="kind"):
            read_recipient(issue("a", new_key(1), public_key=spki).certificate)

    def test_key_usage_may_be_absent(self) -> None:
        """A certificate that says nothing of its use may be used."""
        made = issue("a", new_key(1), extensions=())
        assert read_recipient(made.certificate).certificate.name == "CN=a"

    def test_validity(self) -> None:
        """Both ends included; outside them, the operator is told from when to when."""
        recipient = read_recipient(holder("P-256").certificate)
        recipient.check_valid(NOW - YEAR)
        recipient.check_valid(NOW + YEAR)
        for moment in (NOW - YEAR - SECOND, NOW + YEAR + SECOND):
            with pytest.raises(OperatorError, match="valid from 2025-03-14T12:00:00Z to 2027-03-14T12:00:00Z"):
                recipient.check_valid(moment)

    def test_one_certificate_and_no_key(self) -> None:
        """A file with none, with two, or with a private key is refused in words."""
        pem = der_to_pem([holder("P-256").certificate])
        assert read_recipient_pem(b"Mairie d'Albi\n" + pem).sha256 == read_recipient(holder("P-256").certificate).sha256
        key = holder("P-256").key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        for content, words in ((b"", "no certificate"), (pem + pem, "2 certificates"), (pem + key, "private key")):
            with pytest.raises(OperatorError, match=words):
                read_recipient_pem(content)

    @pytest.mark.parametrize(
        "options", [("-newkey", "rsa:2048"), ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384")]
    )
    def test_what_openssl_makes_is_taken(self, tmp_path: Path, options: tuple[str, ...]) -> None:
        """A commune with nothing but openssl makes its certificate in one command, and opens what it is sent."""
        names = ["-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem", "-subj", "/CN=Mairie d'Albi"]
        command = ["openssl", "req", "-x509", "-nodes", "-days", "700", *options, *names]
        subprocess.run(command, check=True, capture_output=True)
        recipient = read_recipient_pem((tmp_path / "cert.pem").read_bytes())
        (tmp_path / "file.p7m").write_bytes(encrypt(recipient, [b"entries"]))
        opened = subprocess.run(
            ["openssl", "cms", "-decrypt", "-binary", "-inform", "DER", "-in", tmp_path / "file.p7m",
             "-recip", tmp_path / "cert.pem", "-inkey", tmp_path / "key.pem"],
            capture_output=True, check=True,
        )  # fmt: skip
        assert opened.stdout == b"entries"

"""A real time-stamping authority: `openssl ts -reply`, with certificates that openssl made."""

from __future__ import annotations

import subprocess
import threading
from itertools import count
from typing import TYPE_CHECKING

from journal.pki.certificates import pem_to_der

if TYPE_CHECKING:
    from pathlib import Path

_CERTIFICATES = """\
[req]
distinguished_name = name
prompt = no
[name]
CN = authority
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[authority]
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign,cRLSign
extendedKeyUsage = timeStamping
[stamper]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
authorityKeyIdentifier = keyid
"""
_SECTION = "the_authority"
KEYS = {
    "p256": ("ec", "ec_paramgen_curve:P-256"),
    "p384": ("ec", "ec_paramgen_curve:P-384"),
    "rsa": ("rsa", "rsa_keygen_bits:2048"),
}


class Authority:
    """An authority of time in a directory of its own; every reply is one call of openssl."""

    def __init__(self, directory: Path, key: str = "p256") -> None:
        """Make a root, an issuing authority, and a stamper whose key is `p256`, `p384` or `rsa`."""
        self._directory = directory
        self._numbers = count(1)
        self._one_at_a_time = threading.Lock()  # openssl keeps the serial number in a file
        (directory / "certificates.cnf").write_text(_CERTIFICATES)
        self._make("root", "root", "p256", issuer=None)
        self._make("authority", "authority", "p256", issuer="root")
        self._make("stamper", "stamper", key, issuer="authority")
        (directory / "serial").write_text("01\n")

    @property
    def trust_path(self) -> Path:
        """The root's certificate (PEM)."""
        return self._directory / "root.pem"

    @property
    def anchors(self) -> list[bytes]:
        """The root's certificate (DER), in a list."""
        return pem_to_der(self.trust_path.read_bytes())

    def reply(self, query: bytes, **options: str) -> bytes:
        """Answer a TimeStampReq with a TimeStampResp; `options` are settings of openssl's section [tsa]."""
        number = next(self._numbers)
        settings = {
            "serial": f"{self._directory}/serial",
            "default_policy": "1.3.6.1.4.1.99999.1",
            "digests": "sha256,sha384,sha512,sha1,md5",
            "signer_digest": "sha256",
            "signer_cert": f"{self._directory}/stamper.pem",
            "signer_key": f"{self._directory}/stamper.key",
            "certs": f"{self._directory}/authority.pem",
            "accuracy": "secs:1",
            "ess_cert_id_alg": "sha256",
            **options,
        }
        lines = [f"[{_SECTION}]", *(f"{name} = {value}" for name, value in settings.items())]
        (self._directory / f"{number}.cnf").write_text("\n".join(lines) + "\n")
        (self._directory / f"{number}.tsq").write_bytes(query)
        with self._one_at_a_time:
            self.openssl(
                *("ts", "-reply", "-config", f"{number}.cnf", "-section", _SECTION),
                *("-queryfile", f"{number}.tsq", "-out", f"{number}.tsr"),
            )
        return (self._directory / f"{number}.tsr").read_bytes()

    def openssl(self, *arguments: str) -> bytes:
        """Run openssl in the directory; return what it printed."""
        return subprocess.run(["openssl", *arguments], cwd=self._directory, check=True, capture_output=True).stdout

    def _make(self, name: str, section: str, key: str, *, issuer: str | None) -> None:
        kind, option = KEYS[key]
        request: tuple[str, ...] = (
            "req",
            "-config",
            "certificates.cnf",
            "-subj",
            f"/CN=Time {name}",
            "-nodes",
            "-keyout",
            f"{name}.key",
        )
        request = (*request, "-newkey", kind, "-pkeyopt", option)
        if issuer is None:
            self.openssl(*request, "-x509", "-days", "3650", "-extensions", section, "-out", f"{name}.pem")
            return
        self.openssl(*request, "-out", f"{name}.csr")
        self.openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key"),
            *("-CAcreateserial", "-days", "3650", "-extfile", "certificates.cnf", "-extensions", section),
            *("-out", f"{name}.pem"),
        )

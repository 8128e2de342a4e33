"""An authority for electronic seals as French ones are: a root, an intermediate, certificates after ETSI EN 319 412-3.

Debian's openssl makes it. A seal's certificate has no DNS name and no extended key usage; it has policies, addresses of
revocation and issuer, and the statements of a qualified seal (EN 319 412-5).
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from journal.pki import der

if TYPE_CHECKING:
    from pathlib import Path

AUTHORITY = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"


def openssl(*arguments: object) -> str:
    """Run Debian's openssl, which must succeed; return what it says."""
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def statements() -> bytes:
    """Return QcStatements: a qualified certificate, of a seal, whose key is in a device, and its terms in French."""

    def one(arc: str, *value: bytes) -> bytes:
        return der.sequence(der.object_identifier(f"0.4.0.1862.1.{arc}"), *value)

    terms = der.sequence(der.encode(0x16, b"https://ac.example.fr/cgu.pdf"), der.encode(der.PRINTABLE_STRING, b"fr"))
    seal = der.sequence(der.object_identifier("0.4.0.1862.1.6.2"))
    return der.sequence(one("1"), one("4"), one("5", der.sequence(terms)), one("6", seal))


SEAL = f"""\
keyUsage=critical,nonRepudiation
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
certificatePolicies=1.2.250.1.999.1.1,0.4.0.194112.1.3
crlDistributionPoints=URI:http://ac.example.fr/cachets.crl
authorityInfoAccess=OCSP;URI:http://ocsp.example.fr,caIssuers;URI:http://ac.example.fr/cachets.cer
1.3.6.1.5.5.7.1.3=DER:{statements().hex()}
"""
NEW_KEY = {"rsa3072": ("rsa:3072",), "p256": ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")}


class FrenchAuthority:
    """Certifies the seals it is asked for."""

    def __init__(self, directory: Path, kind: str) -> None:
        """Make a root and an intermediate with keys of this kind (`rsa3072`, `p256`)."""
        directory.mkdir()
        self._directory = directory
        self.root = directory / "root.pem"
        self._middle = directory / "middle.pem"
        for name, text in (("authority", AUTHORITY), ("seal", SEAL)):
            (directory / name).write_text(text)
        new = ("req", "-utf8", "-newkey", *NEW_KEY[kind], "-nodes", "-subj")
        by = "/C=FR/O=Autorité d'Essai/organizationIdentifier=NTRFR-210000009/CN="
        openssl(*new, f"{by}Racine", "-x509", "-days", 3650, "-keyout", self._key("root"), "-out", self.root,
                "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip
        openssl(*new, f"{by}Cachets", "-keyout", self._key("middle"), "-out", directory / "middle.req")
        self._issue(directory / "middle.req", by="root", extensions="authority", out=self._middle)

    def _key(self, name: str) -> Path:
        return self._directory / f"{name}.key"

    def _issue(self, request: Path, *, by: str, extensions: str, out: Path, days: int = 1000) -> None:
        authority = ("-CA", self._directory / f"{by}.pem", "-CAkey", self._key(by), "-CAcreateserial", "-sha256")
        extended = ("-extfile", self._directory / extensions)
        openssl("x509", "-req", "-in", request, "-days", days, *authority, *extended, "-out", out)

    def certify(self, request: bytes, *, days: int = 700) -> bytes:
        """Return the chain (PEM, the seal's first) for a request, of which only name and key count."""
        asked, made = self._directory / "asked.pem", self._directory / "made.pem"
        asked.write_bytes(request)
        self._issue(asked, by="middle", extensions="seal", out=made, days=days)
        return made.read_bytes() + self._middle.read_bytes()

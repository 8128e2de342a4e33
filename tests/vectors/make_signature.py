"""Write test vectors of the signature profile (tests/vectors/v1/signature.json) on standard output.

They were made once and are never edited: an ECDSA signature is drawn anew each time, so another run makes other
bytes, as good. Run from the project's root: `python -m tests.vectors.make_signature`.
"""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from hashlib import sha256

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from journal.pki import certificates, cms, der
from tests.support import authority as made
from tests.support.authority import AUTHORITY, CHAIN, INTERMEDIATE, NOW, ROOT, SERVICE, SIGNER, YEAR, issue, new_key

CONTENT = "openepm-journal/seal/v1\n"


def text(data: bytes) -> str:
    """Return bytes as JSON carries them."""
    return base64.b64encode(data).decode()


def accepted() -> list[dict[str, str]]:
    """Return good signatures, with what a verifier finds in them."""
    direct = issue("Seals and extracts", new_key(3), issuer=ROOT)
    upper = issue("Upper authority", new_key(4), issuer=ROOT, extensions=AUTHORITY)
    lower = issue("Lower authority", new_key(5), issuer=upper, extensions=AUTHORITY)
    deep = issue("Seals and extracts", new_key(3), issuer=lower)
    p384 = issue("Seals and extracts", made.new_p384_key(3), issuer=ROOT)
    by_rsa = issue("Seals and extracts", made.rsa_3072_key(), issuer=ROOT)
    chains = {
        "one intermediate": CHAIN,
        "no intermediate": [direct],
        "two intermediates": [deep, lower, upper],
        "P-384": [p384],
        "RSA of 3072 bits": [by_rsa],
    }
    return [
        {
            "name": name,
            "signature": text(made.sign(CONTENT.encode(), chain=chain)),
            "signing_time": f"{NOW:%Y-%m-%dT%H:%M:%SZ}",
            "subject": "CN=Seals and extracts",
            "issuer": certificates.name_text(der.decode((*chain, ROOT)[1].name, limit_bytes=1000)),
        }
        for name, chain in chains.items()
    ]


def refused() -> list[dict[str, str]]:
    """Return signatures refused for one fault each, with the class of the failure."""
    content = CONTENT.encode()
    good = made.sign(content)
    values = cms._parse(good)
    r, s = certificates.read_ecdsa(values.value)
    other_root = issue("Root authority", new_key(31), extensions=AUTHORITY)
    other = issue("Issuing authority", new_key(32), issuer=other_root, extensions=AUTHORITY)
    cases = {
        ("a byte more", "malformed"): good + b"\x00",
        ("the higher twin", "malformed"): cms._encode(replace(values, value=made.ecdsa_value(r, cms.P256_ORDER - s))),
        ("another version", "malformed"): good.replace(b"\x02\x01\x01\x31\x0d", b"\x02\x01\x03\x31\x0d", 1),
        ("other content", "bad signature"): made.sign(content + b"\n"),
        ("another time", "bad signature"): cms._encode(replace(values, signing_time=NOW + YEAR / 365)),
        ("another certificate of the same key", "bad signature"): cms._encode(
            replace(values, chain=(*_parsed(issue("Seals", new_key(3), issuer=INTERMEDIATE)), values.chain[1]))
        ),
        ("same names, other keys", "untrusted"): made.sign(
            content, chain=[issue("Seals and extracts", new_key(3), issuer=other), other]
        ),
        ("missing intermediate", "untrusted"): made.sign(content, chain=CHAIN[:1]),
        ("the root in the chain", "untrusted"): made.sign(content, chain=[*CHAIN, ROOT]),
        ("expired", "untrusted"): made.sign(content, at=NOW + 2 * YEAR),
        ("another service", "untrusted"): _by([*SIGNER[:3], made.alternative_names(made.dns_name("other.example.fr"))]),
        ("no key usage", "untrusted"): _by([SIGNER[0], *SIGNER[2:]]),
        ("the extended key usage of a server", "untrusted"): _by(
            [*SIGNER[:2], made.extended_key_usage("1.3.6.1.5.5.7.3.1"), SIGNER[3]]
        ),
        ("no name at all", "untrusted"): _by(list(SIGNER[:2])),
        ("an RSA key of 2048 bits", "untrusted"): _short_rsa(content),
    }
    return [
        {"name": name, "class": verdict, "signature": text(signature)} for (name, verdict), signature in cases.items()
    ]


def _parsed(*holders: made.Holder) -> tuple[certificates.Certificate, ...]:
    return tuple(certificates.parse(holder.certificate) for holder in holders)


def _short_rsa(content: bytes) -> bytes:
    """Return a signature that our own signer refuses to make."""
    key = rsa.generate_private_key(65537, 2048)
    chain = _parsed(issue("Seals and extracts", key, issuer=ROOT))
    attributes = cms._signed_attributes(chain, sha256(content).digest(), NOW)
    value = key.sign(attributes, padding.PKCS1v15(), hashes.SHA256())
    return cms._encode(cms._Values(chain, sha256(content).digest(), NOW, value))


def _by(extensions: list[bytes]) -> bytes:
    signer = issue("Seals and extracts", new_key(3), issuer=INTERMEDIATE, extensions=extensions)
    return made.sign(CONTENT.encode(), chain=[signer, INTERMEDIATE])


if __name__ == "__main__":
    vectors = {
        "service": SERVICE,
        "content": CONTENT,
        "sha256": sha256(CONTENT.encode()).hexdigest(),
        "trusted": text(ROOT.certificate),
        "accepted": accepted(),
        "refused": refused(),
    }
    print(json.dumps(vectors, indent=1))  # noqa: T201 - its result

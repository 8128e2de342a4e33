"""TLS as it is found: a handshake with what answers to the service's public name, and nothing taken on trust."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509

DEADLINE_SECONDS = 5.0
# Every answer of the service has it, and proxies carry it through.
MARK = b"x-request-id:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What answered: `is_old_accepted` where it also speaks TLS 1.2, `is_vouched` by an authority of this machine."""

    version: str
    until: datetime
    is_ours: bool
    is_old_accepted: bool
    is_vouched: bool


async def find_tls(host: str, port: int, name: str) -> Found | None:
    """Shake hands with what listens there and is asked for by that name; None where nothing speaks TLS."""
    return await asyncio.to_thread(_find, host, port, name)


def _find(host: str, port: int, name: str) -> Found | None:
    any_certificate = ssl.create_default_context()
    any_certificate.check_hostname = False
    any_certificate.verify_mode = ssl.CERT_NONE
    try:
        with _connected(host, port, name, any_certificate) as tls:
            encoded = tls.getpeercert(binary_form=True)
            version = tls.version()
            tls.sendall(f"GET /v1/openapi.json HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            is_ours = MARK in tls.recv(8192).lower()
    except (OSError, ValueError):
        return None
    if encoded is None or version is None:
        return None
    until = x509.load_der_x509_certificate(encoded).not_valid_after_utc
    old = ssl.create_default_context()
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    return Found(
        version=version.replace("TLSv", "TLS "),
        until=until.astimezone(UTC).replace(microsecond=0),
        is_ours=is_ours,
        is_old_accepted=_shakes(host, port, name, old),
        is_vouched=_shakes(host, port, name, ssl.create_default_context()),
    )


def _shakes(host: str, port: int, name: str, context: ssl.SSLContext) -> bool:
    try:
        with _connected(host, port, name, context):
            return True
    except (OSError, ValueError):
        return False


def _connected(host: str, port: int, name: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    return context.wrap_socket(socket.create_connection((host, port), timeout=DEADLINE_SECONDS), server_hostname=name)

"""TLS as papers find it: of a real server, which speaks it in one way or another, or not at all."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from journal.papers.transport import find_tls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NAME = "journal.test"
UNTIL = datetime(2036, 1, 2, tzinfo=UTC)


def make_context(directory: Path) -> ssl.SSLContext:
    """Return what a server needs that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, datetime.now(UTC) - timedelta(days=1), UNTIL)
    certificate = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = directory / "server.pem"
    path.write_bytes(secret + certificate.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@asynccontextmanager
async def answering(answer: bytes, context: ssl.SSLContext | None) -> AsyncIterator[int]:
    """Answer whoever asks with these bytes; give the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(("oldest", "is_old"), [(ssl.TLSVersion.TLSv1_3, False), (ssl.TLSVersion.TLSv1_2, True)])
async def test_what_speaks_tls(tmp_path: Path, oldest: ssl.TLSVersion, *, is_old: bool) -> None:
    """Its version, its certificate's end, that nobody vouches for it, and whether it is the service."""
    context = make_context(tmp_path)
    context.minimum_version = oldest
    async with answering(b"HTTP/1.1 200 OK\r\nX-Request-Id: 1\r\n\r\n", context) as port:
        found = await find_tls("127.0.0.1", port, NAME)
    assert found is not None
    assert (found.version, found.until) == ("TLS 1.3", UNTIL)
    assert (found.is_ours, found.is_old_accepted, found.is_vouched) == (True, is_old, False)
    async with answering(b"HTTP/1.1 200 OK\r\nServer: other\r\n\r\n", context) as port:
        found = await find_tls("127.0.0.1", port, NAME)
    assert found is not None
    assert not found.is_ours


async def test_what_does_not() -> None:
    """A server in clear, and none, are not taken for TLS."""
    async with answering(b"HTTP/1.1 200 OK\r\nX-Request-Id: 1\r\n\r\n", None) as port:
        assert await find_tls("127.0.0.1", port, NAME) is None
    assert await find_tls("127.0.0.1", port, NAME) is None

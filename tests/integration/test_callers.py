"""What a reverse proxy says of its callers: believed from the proxies that are named, from nobody else."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio
import structlog
from aiohttp.test_utils import make_mocked_request
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from ingest.access import Limits
from ingest.callers import Proxies
from journal.core.errors import OperatorError
from journal.settings import load_settings
from tests.support.edge import HEAD, RunningEdge, running_edge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from journal.database.embedded import EmbeddedPostgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROXIES = ("127.0.0.1", "10.9.0.0/16", "fd00::/64")
BURST = 5


class FromAddress:
    """A transport that says where its connection comes from."""

    def __init__(self, address: str) -> None:
        """Come from this address."""
        self.address = address

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Return the peer's address."""
        return (self.address, 4000) if name == "peername" else default


def caller(remote: str, *forwarded: str) -> str:
    """Return whom the gate counts a request for."""
    headers = [("X-Forwarded-For", value) for value in forwarded]
    request = make_mocked_request("GET", "/", headers=headers, transport=FromAddress(remote))
    return Proxies(PROXIES).address(request)


@pytest.mark.parametrize(
    ("remote", "forwarded", "expected"),
    [
        ("192.0.2.7", ("198.51.100.1",), "192.0.2.7"),
        ("127.0.0.1", (), "127.0.0.1"),
        ("127.0.0.1", ("192.0.2.7",), "192.0.2.7"),
        ("::ffff:127.0.0.1", ("192.0.2.7",), "192.0.2.7"),
        ("127.0.0.1", ("203.0.113.9, 192.0.2.7",), "192.0.2.7"),
        ("127.0.0.1", ("203.0.113.9", "192.0.2.7"), "192.0.2.7"),
        ("127.0.0.1", ("192.0.2.7, 10.9.3.3",), "192.0.2.7"),
        ("127.0.0.1", ("10.9.3.3",), "10.9.3.3"),
        ("127.0.0.1", ("192.0.2.7, nonsense",), "127.0.0.1"),
        ("127.0.0.1", ("2001:db8:1:2:3:4:5:6",), "20010db800010002"),
        ("fd00::1", ("2001:db8:1:2::1",), "20010db800010002"),
        ("fd00:0:0:1::1", ("192.0.2.7",), "fd00000000000001"),
    ],
)
async def test_the_caller_behind_a_proxy(remote: str, forwarded: tuple[str, ...], expected: str) -> None:
    """The last address that is no proxy's; what stands before it, anybody may have written."""
    assert caller(remote, *forwarded) == expected


async def test_the_setting() -> None:
    """Addresses and networks, separated by commas; anything else is refused by name."""
    chosen = load_settings({"JOURNAL_TRUSTED_PROXIES": "127.0.0.1, fd00::/64"})
    assert chosen.trusted_proxies == ("127.0.0.1", "fd00::/64")
    with pytest.raises(OperatorError, match=r"JOURNAL_TRUSTED_PROXIES\): 'nginx' is neither"):
        load_settings({"JOURNAL_TRUSTED_PROXIES": "nginx"})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxied(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningEdge]:
    """A service whose proxy is whoever connects from 127.0.0.1."""
    limits = Limits(failures_per_second=0.001, burst_failures=BURST)
    home = tmp_path_factory.mktemp("proxied")
    async with running_edge(postgres, home, limits=limits, trusted_proxies=("127.0.0.1",)) as running:
        yield running


async def test_a_flood_is_limited_by_the_callers_address(proxied: RunningEdge) -> None:
    """One caller behind the proxy is answered 429, the others are not."""
    statuses = [(await proxied.ask("GET", HEAD, X_Forwarded_For="192.0.2.1")).status for _ in range(BURST + 1)]
    assert statuses == [401] * BURST + [429]
    assert (await proxied.ask("GET", HEAD, X_Forwarded_For="192.0.2.2")).status == 401


@pytest.mark.parametrize("path", ["/metrics", "/readyz"])
async def test_what_is_for_the_host_alone(proxied: RunningEdge, path: str) -> None:
    """A proxy that forgot to refuse it gets what does not exist; the host itself is answered."""
    assert (await proxied.ask("GET", path, X_Forwarded_For="192.0.2.3")).status == 404
    assert (await proxied.ask("GET", "/healthz", X_Forwarded_For="192.0.2.3")).status == 200
    assert (await proxied.ask("GET", path)).status in {200, 503}


def client_certificate() -> x509.Certificate:
    """Return a caller's self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "module d'Albi")])
    now = datetime.now(UTC)
    unsigned = x509.CertificateBuilder(name, name, key.public_key(), 7, now, now + timedelta(days=1))
    return unsigned.sign(key, SHA256())


def as_rfc_9440(certificate: x509.Certificate) -> str:
    """Return the header as RFC 9440 spells it."""
    return f":{base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()}:"


def as_nginx(certificate: x509.Certificate) -> str:
    """Return the header as nginx's $ssl_client_escaped_cert spells it."""
    return quote(certificate.public_bytes(Encoding.PEM).decode(), safe="")


async def test_a_token_bound_to_a_certificate(proxied: RunningEdge) -> None:
    """It passes with that certificate alone, and only where a trusted proxy has seen its key used."""
    own, other = client_certificate(), client_certificate()
    await proxied.add_credential("bound", role="client", certificate_pem=own.public_bytes(Encoding.PEM))
    (row,) = [row for row in await proxied.service.store.list_credentials() if row.id == proxied.ids["bound"]]
    assert row.certificate_sha256 == hashlib.sha256(own.public_bytes(Encoding.DER)).digest()

    async def status(**headers: str) -> int:
        return (await proxied.ask("GET", "/v1/trust", token="bound", X_Forwarded_For="192.0.2.4", **headers)).status

    assert await status(Client_Cert=as_rfc_9440(own)) == 200
    assert await status(Client_Cert=as_nginx(own)) == 200
    with structlog.testing.capture_logs() as lines:
        assert await status() == 401
    told = [line for line in lines if line["event"] == "a token came without the certificate it is bound to"]
    assert [line["credential"] for line in told] == [proxied.ids["bound"]]
    for wrong in (as_rfc_9440(other), as_nginx(other), ":AAAA", "%", ":é:"):
        assert await status(Client_Cert=wrong) in {401, 429}
    assert (await proxied.ask("GET", "/v1/trust", token="client", Client_Cert=as_nginx(other))).status == 200
    # The right certificate, said by nobody whose word is taken.
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    headers = {"Authorization": f"Bearer {proxied.tokens['bound']}", "Client-Cert": as_rfc_9440(own)}
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{proxied.port}", connector=connector) as session,
        session.get("/v1/trust", headers=headers) as answer,
    ):
        assert answer.status == 401


@pytest.mark.parametrize(
    ("pem", "refusal"),
    [
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "private key"),
        (b"no certificate", "cannot be read"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" * 2, "has 2 certificates"),
    ],
)
async def test_what_is_no_client_certificate(proxied: RunningEdge, pem: bytes, refusal: str) -> None:
    """Only one certificate can be bound, and never a key."""
    with pytest.raises(OperatorError, match=refusal):
        await proxied.add_credential("wrong", role="client", certificate_pem=pem)

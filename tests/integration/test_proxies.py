"""The service behind nginx and behind Caddy, as deploy/edge sets them up."""

from __future__ import annotations

import asyncio
import io
import json
import re
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp.abc import AbstractResolver

from ingest.access import Limits
from ingest.edge import EDGE
from ingest.me import BATCH_LIMIT_BYTES
from tests.support.edge import BATCH, EVENTS, HEAD, SINGLE, Answer, RunningEdge, running_edge
from tests.support.guide import chapter
from tests.support.proxies import NAME, Pair, Proxy, make_pair, running_proxy
from tests.support.refused_events import valid_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.abc import ResolveResult

    from journal.database.embedded import EmbeddedPostgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROBLEM = "application/problem+json"
LIMITS = {
    "nginx": {
        "client_header_timeout 10s": "client_header_timeout 1s",
        "client_body_timeout 15s": "client_body_timeout 1s",
        "limit_conn journal_connections 256": "limit_conn journal_connections 20",
    },
    "caddy": {"read_header 10s": "read_header 1s", "read_body 60s": "read_body 2s"},
}


class Loopback(AbstractResolver):
    """Finds every name on the loopback."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the loopback's address."""
        del family
        found: ResolveResult = {
            "hostname": host, "host": "127.0.0.1", "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0,
        }  # fmt: skip
        return [found]

    async def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """A service, the proxy before it, and how to ask through it."""

    edge: RunningEdge
    proxy: Proxy

    async def ask(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: bytes | None = None,
        own: Pair | None = None,
        source: str = "127.0.0.1",
        **headers: str,
    ) -> Answer:
        """Ask on a connection of its own; header names are given with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {self.edge.tokens[token]}"
        connector = aiohttp.TCPConnector(ssl=self.proxy.tls(own), local_addr=(source, 0), resolver=Loopback())
        async with (
            aiohttp.ClientSession(self.proxy.url, connector=connector) as session,
            session.request(method, path, data=None if body is None else io.BytesIO(body), headers=sent) as got,
        ):
            return Answer(status=got.status, headers=dict(got.headers), body=await got.read())

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection over TLS."""
        return await asyncio.open_connection("127.0.0.1", self.proxy.port, ssl=self.proxy.tls(), server_hostname=NAME)


@asynccontextmanager
async def open_front(kind: str, postgres: EmbeddedPostgres, home: Any) -> AsyncIterator[Front]:
    """Run a service behind a proxy."""
    async with (
        running_edge(postgres, home / "service", trusted_proxies=("127.0.0.1",)) as edge,
        running_proxy(kind, home / "proxy", edge.port, limits=LIMITS[kind]) as proxy,
    ):
        yield Front(edge=edge, proxy=proxy)


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=[
        pytest.param("nginx", marks=pytest.mark.needs("nginx")),
        pytest.param("caddy", marks=pytest.mark.needs("caddy")),
    ],
)
async def front(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Front]:
    """Share one service behind each proxy."""
    async with open_front(request.param, postgres, tmp_path_factory.mktemp(request.param)) as made:
        yield made


def fresh(name: str, **members: Any) -> dict[str, Any]:
    """Return a valid event of a moment ago."""
    moment = datetime.now(UTC) - timedelta(seconds=1)
    return valid_event(id=name, time=moment.isoformat(), **members)


def batch_of(size_bytes: int, name: str) -> bytes:
    """Return a batch of exactly this size: large events, and spaces at its end."""
    recipients = [f"{number:03d}".ljust(256, "x") for number in range(50)]
    data = {"actor": {"account": "a"}, "justification": "x", "outcome": "success", "recipients": recipients}
    one = json.dumps(fresh("x" * 12, type="fr.openepm.journal.disclosure", data=data)).encode()
    events, size = [], 2
    while size + len(one) + 1 <= size_bytes:
        events.append(one.replace(b"x" * 12, f"{name}{len(events):012d}"[-12:].encode(), 1))
        size += len(one) + 1
    body = b"[" + b",".join(events) + b"]"
    return body + b" " * (size_bytes - len(body))


def is_problem(answer: Answer, status: int, kind: str) -> bool:
    """Tell whether an answer is a problem of this kind, and quotes no proxy's page."""
    return (answer.status, answer.headers["Content-Type"], answer.json["type"].rpartition(":")[2]) == (
        status,
        PROBLEM,
        kind,
    )


async def test_an_event(front: Front) -> None:
    """It is recorded, over TLS 1.3; an older TLS is refused."""
    answer = await front.ask(
        "POST", EVENTS, token="module", body=json.dumps(fresh("one")).encode(), Content_Type=SINGLE
    )
    assert (answer.status, answer.json["receipts"][0]["index"]) == (201, await front.edge.size() - 1)
    old = front.proxy.tls()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        await asyncio.open_connection("127.0.0.1", front.proxy.port, ssl=old, server_hostname=NAME)


async def test_the_largest_batch(front: Front, record_property: Any) -> None:
    """A batch of 16 MiB passes, one byte more is a problem in JSON; nothing of either is left in a file."""
    body = batch_of(BATCH_LIMIT_BYTES, front.proxy.kind)
    began = asyncio.get_running_loop().time()
    answer = await front.ask("POST", EVENTS, token="module", body=body, Content_Type=BATCH)
    seconds = asyncio.get_running_loop().time() - began
    assert answer.status == 201
    record_property(
        "evidence",
        f"{front.proxy.kind}: a batch of 16 MiB, {len(answer.json['receipts'])} events, is answered in {seconds:.1f} s",
    )
    answer = await front.ask("POST", EVENTS, token="module", body=body + b" ", Content_Type=BATCH)
    assert is_problem(answer, 413, "oversize")
    assert not [path for path in (front.proxy.home / "body", front.proxy.home / "proxy") if any(path.glob("**/[0-9]*"))]


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/nowhere"])
async def test_what_is_for_the_host_alone(front: Front, path: str) -> None:
    """It does not exist outside."""
    assert is_problem(await front.ask("GET", path), 404, "absent")
    assert (await front.ask("GET", "/healthz")).status == 200


async def test_a_client_certificate(front: Front) -> None:
    """A token that is bound to one passes with its key, and not with what a caller merely writes."""
    own = make_pair(front.proxy.home, "module.albi.example.fr")
    other = make_pair(front.proxy.home, "other.example.fr")
    await front.edge.add_credential("bound", role="client", certificate_pem=own.pem)
    assert (await front.ask("GET", "/v1/trust", token="bound", own=own)).status == 200
    for answer in (
        await front.ask("GET", "/v1/trust", token="bound"),
        await front.ask("GET", "/v1/trust", token="bound", own=other),
        await front.ask("GET", "/v1/trust", token="bound", Client_Cert=own.pem.decode().replace("\n", "%0A")),
    ):
        assert is_problem(answer, 401, "unauthenticated")


async def test_a_callers_address(front: Front) -> None:
    """It is the one that connected to the proxy, whatever the caller says."""
    await front.ask("GET", HEAD, source="127.0.0.33", X_Forwarded_For="192.0.2.200")
    addresses = front.edge.app[EDGE].gate._failures._buckets
    assert "192.0.2.200" not in addresses
    assert "127.0.0.33" in addresses


@pytest.mark.needs("nginx")
async def test_an_address_behind_a_balancer(postgres: EmbeddedPostgres, tmp_path: Any) -> None:
    """With the lines that the guide has for it, nginx passes on the address that the balancer says."""
    (lines,) = re.findall(r"^```nginx\n(.*?)^```$", chapter(17), re.MULTILINE | re.DOTALL)
    limits = {"  listen 443 ssl;\n  listen [::]:443 ssl;\n": lines.replace("10.1.0.9", "127.0.0.1")}
    async with (
        running_edge(postgres, tmp_path / "service", trusted_proxies=("127.0.0.1",)) as edge,
        running_proxy("nginx", tmp_path / "proxy", edge.port, limits=limits) as proxy,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"PROXY TCP4 203.0.113.9 127.0.0.1 40000 443\r\n")
        await writer.start_tls(proxy.tls(), server_hostname=NAME)
        writer.write(f"GET {HEAD} HTTP/1.1\r\nHost: {NAME}:{proxy.port}\r\nConnection: close\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
        writer.close()
        assert [*edge.app[EDGE].gate._failures._buckets] == ["203.0.113.9"]


async def slowly(front: Front, beginning: bytes) -> bytes:
    """Send the beginning of a request and nothing more; return what was answered before the connection ended."""
    reader, writer = await front.connect()
    answer = b""
    writer.write(beginning)
    with suppress(ConnectionError):
        async with asyncio.timeout(60):
            answer = await reader.read()
    writer.close()
    return answer


async def test_a_slow_caller(front: Front) -> None:
    """Headers, or a body, that do not arrive in time end the connection, and hold nothing of the service."""
    assert b" 201 " not in await slowly(front, b"POST /v1")
    head = [
        f"POST {EVENTS} HTTP/1.1",
        f"Host: {NAME}:{front.proxy.port}",
        f"Content-Type: {SINGLE}",
        "Content-Length: 100",
        f"Authorization: Bearer {front.edge.tokens['module']}",
    ]
    assert b" 201 " not in await slowly(front, "\r\n".join([*head, "", "{"]).encode())
    assert (await front.ask("GET", "/v1/trust", token="client")).status == 200
    assert front.edge.app[EDGE].bodies._held == {}


@pytest.mark.needs("nginx")
async def test_too_many_requests_of_one_address(postgres: EmbeddedPostgres, tmp_path: Any) -> None:
    """Nginx refuses them in JSON, and tells when to come back."""
    limits = {"rate=500r/s": "rate=1r/m", "burst=1000": "burst=3"}
    async with (
        running_edge(postgres, tmp_path / "service") as edge,
        running_proxy("nginx", tmp_path / "proxy", edge.port, limits=limits) as proxy,
    ):
        front = Front(edge=edge, proxy=proxy)
        answers = [await front.ask("GET", "/healthz") for _ in range(6)]
        assert [answer.status for answer in answers[:4]] == [200] * 4
        assert is_problem(answers[-1], 429, "rate")
        assert answers[-1].headers["Retry-After"] == "2"
        assert (await front.ask("GET", "/healthz", source="127.0.0.7")).status == 200


async def test_the_service_is_down(front: Front, postgres: EmbeddedPostgres, tmp_path: Any) -> None:
    """The proxy says so in JSON, with a moment to come back at."""
    del postgres
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        async with running_proxy(front.proxy.kind, tmp_path / "proxy", port) as proxy:
            answer = await Front(edge=front.edge, proxy=proxy).ask("GET", "/v1/trust", token="client")
    assert is_problem(answer, 503, "unavailable")
    assert answer.headers["Retry-After"] == "5"


async def test_limits_of_the_files_are_the_services(front: Front) -> None:
    """A proxy waits longer than the service does: the service's answer is the one that callers get."""
    assert Limits().body_seconds < 60
    assert Limits().extract_patience_seconds < 120
    assert front.proxy.kind in LIMITS

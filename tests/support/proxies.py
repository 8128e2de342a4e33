"""nginx and Caddy before a service, run from the files in deploy/edge; names, ports and certificates are the test's."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

EDGE_FILES = Path(__file__).parents[2] / "deploy" / "edge"
NAME = "journal.example.fr"
START_LIMIT_SECONDS = 30
NGINX = """
daemon off;
pid {home}/nginx.pid;
error_log {home}/main.log warn;
worker_processes 1;
worker_rlimit_nofile 40000;
{user}
events {{ worker_connections {connections}; }}
http {{
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  include {home}/journal.conf;
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path

    @property
    def pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A proxy that listens, and the certificate it shows."""

    kind: str
    port: int
    pair: Pair
    home: Path
    pid: int

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://{NAME}:{self.port}"

    def tls(self, own: Pair | None = None) -> ssl.SSLContext:
        """Return how a caller connects, with a certificate of its own if given."""
        context = ssl.create_default_context(cafile=str(self.pair.certificate))
        if own is not None:
            context.load_cert_chain(own.certificate, own.key)
        return context

    def tls_without_names(self) -> ssl.SSLContext:
        """Return how a caller connects that knows an address and no name."""
        context = self.tls()
        context.check_hostname = False
        return context


def make_pair(home: Path, name: str, names: Sequence[x509.GeneralName] = ()) -> Pair:
    """Make a key and a self-signed certificate of this DNS name, or of other names."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    begin, end = now - timedelta(minutes=1), now + timedelta(days=1)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(), begin, end)
    builder = builder.add_extension(x509.SubjectAlternativeName(names or [x509.DNSName(name)]), critical=False)
    home.mkdir(parents=True, exist_ok=True)
    pair = Pair(certificate=home / f"{name}.pem", key=home / f"{name}.key")
    pair.certificate.write_bytes(builder.sign(key, SHA256()).public_bytes(Encoding.PEM))
    pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return pair


@asynccontextmanager
async def running_proxy(
    kind: str, home: Path, service_port: int, *, limits: Mapping[str, str] | None = None, connections: int = 16384
) -> AsyncIterator[Proxy]:
    """Run `nginx` or `caddy` in front of a service; `limits` replaces texts of its file, each found once."""
    pair, port = make_pair(home, NAME), free_port()
    name = "nginx.conf" if kind == "nginx" else "Caddyfile"
    text = (EDGE_FILES / name).read_text(encoding="utf-8")
    for old, new in (limits or {}).items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    text = text.replace("127.0.0.1:8470", f"127.0.0.1:{service_port}")
    command = _nginx(home, text, pair, port, connections) if kind == "nginx" else _caddy(home, text, pair, port)
    environment = os.environ | {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_DATA_HOME": str(home)}
    with (home / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=log, stderr=log)
    try:
        await _listening(port, process, home)
        yield Proxy(kind=kind, port=port, pair=pair, home=home, pid=process.pid)
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _nginx(home: Path, text: str, pair: Pair, port: int, connections: int) -> list[str]:
    text = re.sub(r"^ *listen \[::\].*\n", "", text, flags=re.MULTILINE)
    text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl backlog=4096")
    text = re.sub(r"ssl_certificate .*;", f"ssl_certificate {pair.certificate};", text)
    text = re.sub(r"ssl_certificate_key .*;", f"ssl_certificate_key {pair.key};", text)
    text = re.sub(r"error_log .*;", f"error_log {home}/error.log crit;", text)
    (home / "journal.conf").write_text(text, encoding="utf-8")
    # Its workers of another account could not read the test's files.
    user = "user root;" if os.geteuid() == 0 else ""
    main = NGINX.format(home=home, user=user, connections=connections)
    (home / "nginx.conf").write_text(main, encoding="utf-8")
    program = shutil.which("nginx")
    assert program is not None
    return [program, "-p", str(home), "-e", str(home / "main.log"), "-c", str(home / "nginx.conf")]


def _caddy(home: Path, text: str, pair: Pair, port: int) -> list[str]:
    text = text.replace(f"\n{NAME} {{", f"\nhttps://{NAME}:{port} {{")
    text = text.replace("\ttls {", f"\ttls {pair.certificate} {pair.key} {{")
    text = text.replace("{\n\tservers", "{\n\tadmin off\n\tauto_https off\n\tservers", 1)
    (home / "Caddyfile").write_text(text, encoding="utf-8")
    program = shutil.which("caddy")
    assert program is not None
    return [program, "run", "--config", str(home / "Caddyfile"), "--adapter", "caddyfile"]


async def _listening(port: int, process: asyncio.subprocess.Process, home: Path) -> None:
    async with asyncio.timeout(START_LIMIT_SECONDS):
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            if process.returncode is not None:
                raise RuntimeError((home / "log").read_text() + (home / "main.log").read_text())
            await asyncio.sleep(0.05)

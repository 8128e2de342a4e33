"""What can be seen of the host from outside the service: its answer, disks, certificate, copy of the keys."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import aiohttp

from journal.core.errors import VerificationError
from journal.pki.certificates import parse, pem_to_der

if TYPE_CHECKING:
    from journal.settings import Settings

ANSWER_SECONDS = 10.0
LEAST_FREE = 0.1
COPY_LATE_SECONDS = 2 * 3600
CERTIFICATE_DAYS = 30
DAY_SECONDS = 86_400
COPIED = "keys-copied"
# Where Debian's PostgreSQL keeps data and WAL: the directory above is open to all.
LOCAL_DATA = Path("/var/lib/postgresql")


def places(settings: Settings) -> dict[str, Path]:
    """Return the directories that must not be full, by what they are for; not all of them exist."""
    found = {"home": settings.home_path, "keys": settings.keystore_path}
    for number, path in enumerate(settings.keystore_replicas, start=1):
        found[f"replica {number}"] = Path(path)
    found |= {"handover": settings.handover_path, "signer": settings.signer_state_path.parent}
    if settings.dsn is None:
        data = settings.home_path / "postgresql" / "data"
        found |= {"database": data, "WAL": data / "pg_wal"}
    elif is_local(settings.dsn):
        found["database"] = LOCAL_DATA
    return found


def is_local(dsn: str) -> bool:
    """Tell whether an address is a socket of this host."""
    parts = urlsplit(dsn)
    host = parse_qs(parts.query).get("host", [parts.hostname or "/"])[-1]
    return host.startswith("/") or host in {"localhost", "127.0.0.1", "::1"}


def free(path: Path) -> tuple[int, int] | None:
    """Return (free, all) bytes of a directory's file system, for an account that is not root; None if it is absent."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def copied_path(settings: Settings) -> Path:
    """Return the file whose time says when `keys backup` last copied everything."""
    return settings.home_path / COPIED


def copied_at(settings: Settings) -> float | None:
    """Return when `keys backup` last copied everything (Unix time); None if never."""
    try:
        return copied_path(settings).stat().st_mtime
    except OSError:
        return None


async def problems(settings: Settings) -> dict[str, str]:
    """Return what is wrong, by a name that stays the same while it lasts: sentences, nothing personal."""
    found = await _ask(settings) | _certificate(settings)
    for name, path in places(settings).items():
        room = free(path)
        if room is not None and room[0] < LEAST_FREE * room[1]:
            found[f"disk {name}"] = f"the disk of {path} is nearly full: {room[0] // 2**20} MiB are free"
    at = copied_at(settings)
    if at is not None and time.time() - at > COPY_LATE_SECONDS:
        hours = (time.time() - at) / 3600
        found["keys copy"] = (
            f"the key store was last copied {hours:.0f} h ago: systemctl status openepm-journal-keys, then "
            "openepm-journal keys backup"
        )
    return found


async def _ask(settings: Settings) -> dict[str, str]:
    """Ask the service itself whether it is ready."""
    host, port = settings.address
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  (what it listens on, not we)
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/readyz"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)) as session,
            session.get(url) as answer,
        ):
            checks = (await answer.json(content_type=None))["checks"]
            failing = sorted(name for name, result in checks.items() if result != "ok")
    except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return {"service": f"the service does not answer on {settings.listen}: systemctl status openepm-journal"}
    return {f"check {name}": f"the check {name} fails: openepm-journal doctor says why" for name in failing}


def _certificate(settings: Settings) -> dict[str, str]:
    try:
        certificate = parse(pem_to_der(settings.signing_cert_path.read_bytes())[0])
    except (OSError, VerificationError):
        return {}  # the service's own check says so
    days = (certificate.not_after.timestamp() - time.time()) / DAY_SECONDS
    if days > CERTIFICATE_DAYS:
        return {}
    what = f"has {days:.0f} days left" if days > 0 else "has expired: nothing is sealed or extracted"
    return {"certificate": f"the signing certificate {what}; have it renewed"}

"""A commune that receives its days: its certificate, its files, its key to open them."""

from __future__ import annotations

import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from journal.admin.administration import NewCategory
from journal.pki.certificates import der_to_pem
from tests.support.authority import Holder, issue, key_usage, new_key
from tests.support.world import DAY, START, TENANT, World, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres


YEAR = 365 * DAY


# Of a category kept 5 days: handed over from the third day after on, purged on the fourth, gone before the fifth.
SHORT = NewCategory(code="brefs", label="Brefs", retention_days=5)


def commune(kind: str = "EC", *, end: datetime = START + YEAR) -> Holder:
    """Return a commune's certificate and key."""
    if kind == "RSA":
        key = rsa.generate_private_key(65537, 2048)
        return issue("Mairie d'Albi", key, issuer=issue("AC", new_key(9)), extensions=(key_usage(0x20),), end=end)
    return issue("Mairie d'Albi", new_key(21), issuer=issue("AC", new_key(9)), extensions=(key_usage(0x08),), end=end)


def opened(path: Path, holder: Holder, directory: Path) -> bytes:
    """Open a file as the commune does, with Debian's openssl."""
    pem = holder.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "commune.key").write_bytes(pem)
    (directory / "commune.pem").write_bytes(der_to_pem([holder.certificate]))
    done = subprocess.run(
        ["openssl", "cms", "-decrypt", "-binary", "-inform", "DER", "-in", path, "-recip", directory / "commune.pem",
         "-inkey", directory / "commune.key", "-out", directory / "opened.asice"],
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return (directory / "opened.asice").read_bytes()


@asynccontextmanager
async def commune_world(
    postgres: EmbeddedPostgres, home: Path, holder: Holder | None = None, *, confirmed: bool = True, **settings: Any
) -> AsyncIterator[World]:
    """Make an installation whose first commune, not its second, receives its days, and has confirmed that it can."""
    async with new_world(postgres, home, **settings) as world:
        administration = world.installation.administration
        await administration.add_category(SHORT)
        await world.installation.maintenance.prepare()
        await receives(world, holder or commune(), confirmed=confirmed)
        yield world


async def receives(world: World, holder: Holder | None = None, *, tenant: str = TENANT, confirmed: bool = True) -> None:
    """Register a commune's certificate; it has opened a hand-over before, or has not."""
    certificate = (holder or commune()).certificate
    await world.installation.administration.register_recipient(tenant, der_to_pem([certificate]))
    if confirmed:
        await world.service.store.confirm_recipient(tenant, certificate)


def root(world: World) -> Path:
    """Return where communes fetch their files."""
    return world.settings.handover_path


def names(world: World, tenant: str = TENANT) -> list[str]:
    """Return the files a commune finds."""
    return sorted(path.name for path in (root(world) / tenant).iterdir() if not path.name.startswith("."))

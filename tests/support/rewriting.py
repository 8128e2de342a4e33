"""A chain that is rewritten by somebody who has the database, and the key store too."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from journal.core.chain import extend, leaf_hash
from journal.core.entry import Compartment
from tests.support.encrypting import encrypt
from tests.support.world import CATEGORY, SERVICE, TENANT, World

if TYPE_CHECKING:
    import asyncpg

HEAD = "WHERE tenant = 'albi' AND category = 'main-courante'"


async def rewrite(world: World, superuser: asyncpg.Connection, index: int, *, with_keys: bool) -> None:
    """Exchange one entry and every later chain hash; with the key store, so that it still opens."""
    box = world.service.keyring.box(Compartment(SERVICE, TENANT, CATEGORY), world.today)
    row = await superuser.fetchrow(f"SELECT * FROM journal.entry {HEAD} AND index = $1", index)
    ciphertext, leaf = row["ciphertext"], os.urandom(32)
    if with_keys:
        salt, record = box.open(index, ciphertext, row["leaf_hash"])
        record = record.replace(b"agent-", b"agent.")
        ciphertext = encrypt(box, index, nonce=os.urandom(12), salt=salt, record=record)
        leaf = leaf_hash(salt, record)
        assert leaf != row["leaf_hash"]
    await superuser.execute(
        f"UPDATE journal.entry SET leaf_hash = $2, ciphertext = $3 {HEAD} AND index = $1", index, leaf, ciphertext
    )
    rows = await superuser.fetch(f"SELECT index, leaf_hash, chain_hash FROM journal.entry {HEAD} ORDER BY index")
    chain_hash = rows[index - 1]["chain_hash"]
    for later in rows[index:]:
        chain_hash = extend(chain_hash, later["leaf_hash"])
        await superuser.execute(
            f"UPDATE journal.entry SET chain_hash = $2 {HEAD} AND index = $1", later["index"], chain_hash
        )
    await superuser.execute(f"UPDATE journal.head SET chain_hash = $1 {HEAD}", chain_hash)

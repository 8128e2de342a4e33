"""`kill -9` at every step of a replacement of the master key: every key opens, and a repeat finishes it."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from datetime import date
from typing import TYPE_CHECKING

import pytest

from journal.core.entry import RESERVED_TENANT
from journal.core.errors import BusyError, KeyStoreError
from journal.keys.copy import follow
from journal.keys.rotation import begin, rotate
from journal.keys.store import KeyStore
from journal.keys.wrapped import MasterKey, make_master_key
from tests.faults.purging import ended
from tests.faults.rotating import start, stores_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DAYS = [date(2026, 3, number) for number in range(1, 4)]
FACT = ("tenant", "albi")


def made(home: Path) -> dict[str, bytes]:
    """Make a key store with a replica, a copy and a ledger; return its keys by name."""
    home.mkdir()
    make_master_key(home / "master.key")
    for name in ("replica", "copy"):
        (home / name).mkdir()
    store, copy = stores_in(home)
    for tenant in (RESERVED_TENANT, "albi"):
        store.make_tenant_key(tenant)
    for day in DAYS:
        store.make_day_key("ecrits", day)
    with store.ledger.writing():
        store.ledger.set({FACT: store.ledger.digest(b"albi")})
        store.ledger.settle([FACT], is_done=True)
    follow(copy, store)
    return keys_of(store)


def keys_of(store: KeyStore) -> dict[str, bytes]:
    """Return every key; each copy of it must give the same."""
    for day in DAYS:
        store.confirm_day_key("ecrits", day)
    keys = {f"{day}": store.read_day_key("ecrits", day) for day in DAYS}
    return keys | {tenant: store.read_tenant_key(tenant) for tenant in store.tenant_keys()}


def check_whole(home: Path, keys: dict[str, bytes], *, running: KeyStore) -> None:
    """A new process, and one that has run since before, have every key, and the ledger's facts."""
    for store in (*stores_in(home), running):
        assert keys_of(store) == keys
        store.ledger.refresh()
        assert store.ledger.problems() == []
        assert store.ledger.knows(*FACT)
        assert store.ledger.accepts(*FACT, store.ledger.digest(b"albi"), 0)


def check_old_opens_nothing(home: Path, old: bytes) -> None:
    """No file of any copy opens under the old master key."""
    count = 0
    for directory in ("keys", "replica", "copy"):
        store = KeyStore(home / directory, old)
        for day in DAYS:
            with pytest.raises(KeyStoreError, match="does not open"):
                store.read_day_key("ecrits", day)
            count += 1
        for tenant in store.tenant_keys():
            with pytest.raises(KeyStoreError, match="does not open"):
                store.read_tenant_key(tenant)
            count += 1
    assert count == 3 * (len(DAYS) + 2)


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.campaign)])
async def test_killed_at_every_step(step: int, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """What opened before opens, in a process that runs on too; repeated, it ends, and the old key opens nothing."""
    template = tmp_path / "template"
    keys = made(template)
    shutil.copytree(template, tmp_path / "whole")
    operations = await ended(start(tmp_path / "whole"))
    assert operations >= 20, operations
    count = 0
    for number in range(1, operations + 1, step):
        for when in ("before", "after"):
            home = tmp_path / f"{number}{when}"
            shutil.copytree(template, home)
            old = MasterKey.read(home / "master.key").current
            running = stores_in(home)[0]
            assert await ended(start(home, (number, when))) == -signal.SIGKILL, (number, when)
            check_whole(home, keys, running=running)
            # A key that is made meanwhile is one that the end of the replacement finds.
            running.make_day_key("journal", DAYS[0])
            if (
                MasterKey.read(home / "master.key").other is not None
                or MasterKey.read(home / "master.key").current == old
            ):
                assert rotate(home / "master.key", stores_in(home)).stage == "finished"
            new = MasterKey.read(home / "master.key")
            assert (new.current != old, new.other) == (True, None)
            check_whole(home, keys, running=running)
            check_old_opens_nothing(home, old)
            assert stores_in(home)[0].read_day_key("journal", DAYS[0]) == running.read_day_key("journal", DAYS[0])
            shutil.rmtree(home)
            count += 1
    record_property("evidence", f"kill -9 at {count} places of a replacement of the master key: every key opened")


def test_a_service_with_a_copy_of_the_file(tmp_path: Path) -> None:
    """One that reads the file only at its start, as systemd's credentials are, is restarted after each step."""
    home = tmp_path / "home"
    keys = made(home)
    old = MasterKey.read(home / "master.key").current

    def restarted() -> KeyStore:
        shutil.copy(home / "master.key", tmp_path / "credential")
        return KeyStore(home / "keys", MasterKey.read(tmp_path / "credential"), [home / "replica"])

    service = restarted()
    begin(home / "master.key")
    begin(home / "master.key")
    assert keys_of(service) == keys
    service = restarted()
    service.make_day_key("journal", DAYS[0])  # under the old one: it still wraps
    assert rotate(home / "master.key", stores_in(home), keeps_former=True).stage == "wrapped"
    assert keys_of(service) == keys
    service.make_day_key("journal", DAYS[1])
    service = restarted()
    service.make_day_key("journal", DAYS[2])
    done = rotate(home / "master.key", stores_in(home))
    assert (done.stage, done.files) == ("finished", 2), "the key made since, in two directories"
    for store in (service, restarted()):
        assert keys_of(store) == keys
        assert [store.read_day_key("journal", day) for day in DAYS]
    check_old_opens_nothing(home, old)


def test_one_run_at_a_time(tmp_path: Path) -> None:
    """Another one is refused; what a killed one has left of the master keys is removed."""
    home = tmp_path / "home"
    made(home)
    left = home / ".master.key.1.00000000"
    shutil.copy(home / "master.key", left)
    other = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        before = (home / "master.key").read_bytes()
        with pytest.raises(BusyError):
            begin(home / "master.key")
        with pytest.raises(BusyError):
            rotate(home / "master.key", stores_in(home))
        assert (home / "master.key").read_bytes() == before
    finally:
        os.close(other)
    begin(home / "master.key")
    assert not left.exists()


def test_what_cannot_be_replaced(tmp_path: Path) -> None:
    """A key that opens under neither stops it, by name, and the old one goes on opening the others."""
    home = tmp_path / "home"
    keys = made(home)
    damaged = home / "replica" / "days" / "ecrits" / f"{DAYS[1]}"
    content = damaged.read_bytes()
    damaged.write_bytes(bytes(len(content)))
    with pytest.raises(KeyStoreError, match=f"in {home}/replica: key days/ecrits/{DAYS[1]} does not open"):
        rotate(home / "master.key", stores_in(home))
    store = stores_in(home)[0]
    store.repair()
    assert keys_of(store) == keys
    assert rotate(home / "master.key", stores_in(home)).stage == "finished"
    assert keys_of(stores_in(home)[0]) == keys

"""A process without file descriptors: keys are written from its reserve, or not at all, and never by halves."""

from __future__ import annotations

import errno
import os
import resource
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from journal.core.entry import RESERVED_TENANT
from journal.core.errors import KeyStoreError
from journal.keys import files
from journal.keys.store import KeyStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CATEGORY = "ecrits"
DAY = date(2026, 3, 2)


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    """A key store with a replica, a tenant's key and a day's."""
    made = KeyStore(tmp_path / "keys", bytes(32), [tmp_path / "replica"])
    for tenant in (RESERVED_TENANT, "albi"):
        made.make_tenant_key(tenant)
    made.make_day_key(CATEGORY, DAY)
    return made


@contextmanager
def no_descriptor() -> Iterator[None]:
    """Use up every file descriptor that the process may have."""
    held: list[int] = []
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, limits[0]), limits[1]))
    try:
        with suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            os.open(os.devnull, os.O_RDONLY)
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_keys_and_fences_are_written_from_the_reserve(store: KeyStore) -> None:
    """Every write and every read that the service makes of its key store succeeds, in every copy."""
    key = store.read_day_key(CATEGORY, DAY)
    with no_descriptor():
        assert store.make_day_key(CATEGORY, DAY + timedelta(days=1))
        assert store.make_tenant_key("sete")
        assert store.read_day_key(CATEGORY, DAY) == key
        store.repair()
        store.raise_fence(CATEGORY, DAY)
        store.shred_day_key(CATEGORY, DAY)
        store.destroy_tenant_key("albi")
    store.confirm_day_key(CATEGORY, DAY + timedelta(days=1))
    store.confirm_tenant_key("sete")
    for directory in store.directories:
        assert (directory / "fences" / CATEGORY).read_text() == f"{DAY}\n"
        assert not (directory / "days" / CATEGORY / f"{DAY}").exists()
        assert not (directory / "tenants" / "albi").exists()


def test_without_a_reserve_nothing_is_half_written(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused, no file appears under any name, and the next attempt succeeds."""
    monkeypatch.setattr(files, "use_reserve", lambda action: action())
    before = {path for directory in store.directories for path in directory.rglob("*")}
    with no_descriptor(), pytest.raises((KeyStoreError, OSError), match=os.strerror(errno.EMFILE)):
        store.make_day_key(CATEGORY, DAY + timedelta(days=1))
    assert {path for directory in store.directories for path in directory.rglob("*")} == before
    assert store.make_day_key(CATEGORY, DAY + timedelta(days=1))

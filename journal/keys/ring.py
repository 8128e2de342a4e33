"""Data keys in memory: derived once per compartment and day, dropped when their day is purged."""

from __future__ import annotations

import os
from collections import OrderedDict
from contextlib import suppress
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from journal.core.entry import source_key
from journal.core.envelope import NONCE_BYTES, Box, derive_data_key, derive_event_key_key, derive_source_name_key
from journal.core.errors import FencedDayError, KeyStoreError
from journal.core.sources import SourceNames

if TYPE_CHECKING:
    from datetime import date

    from journal.core.entry import Compartment
    from journal.keys.store import KeyStore

CACHED_BOXES = 20_000
CACHED_SOURCES = 10_000
CACHED_TENANT_KEYS = 5_000
LOOK_SECONDS = 1.0


class _TenantKey(NamedTuple):
    """A key in memory, and what its file was when it was last looked at."""

    looked_at: float
    mark: tuple[int, int, int] | None
    key: bytes


class Keyring:
    """Boxes and event-key keys by compartment, made from the key store when first needed."""

    def __init__(self, keystore: KeyStore) -> None:
        """Read keys from this key store."""
        self.keystore = keystore
        self._boxes: OrderedDict[tuple[str, date], Box] = OrderedDict()
        self._day_keys: dict[tuple[str, date], bytes] = {}
        # When the file of a key in memory was last looked at, and what was found.
        self._looks: dict[tuple[str, date], tuple[float, tuple[int, int, int] | None]] = {}
        # Days whose keys are durable in every copy.
        self._settled: set[tuple[str, date]] = set()
        # A tenant's chains begin together.
        self._tenant_keys: OrderedDict[str, _TenantKey] = OrderedDict()
        self._event_key_keys: dict[str, bytes] = {}
        self._source_names: dict[str, SourceNames] = {}
        self._sources: OrderedDict[tuple[str, str, str], tuple[bytes, bytes]] = OrderedDict()
        self._fences: dict[str, date] = {}

    def box(self, compartment: Compartment, day: date) -> Box:
        """Return what encrypts and opens the compartment's entries of that day.

        Raises FencedDayError for a purged day, AbsentKeyError for a key that was never made.
        """
        fence = self._fences.get(compartment.category)
        if fence is not None and day <= fence:
            raise FencedDayError(f"{compartment.category} {day} is destroyed (fence {fence})")
        if self._has_changed(compartment.category, day):
            self._forget(compartment.category, day)
        cached = self._boxes.get((compartment.origin, day))
        if cached is not None:
            self._boxes.move_to_end((compartment.origin, day))
            return cached
        key = derive_data_key(
            day_key=self._day_key(compartment.category, day),
            tenant_key=self._tenant_key(compartment.tenant),
            origin=compartment.origin,
            day=day,
        )
        box = self._boxes[compartment.origin, day] = Box(compartment.origin, key)
        if len(self._boxes) > CACHED_BOXES:
            self._boxes.popitem(last=False)
        return box

    def box_to_write(self, compartment: Compartment, day: date) -> Box:
        """Return what encrypts new entries of that day, once every copy of the key store has its key durably.

        Raises as `box`, and KeyStoreError where a copy cannot be written: entries acknowledged under a key that a
        power cut takes away would be lost.
        """
        place = compartment.category, day
        if place not in self._settled:
            self.keystore.settle_day_key(*place)
            self._settled.add(place)
        return self.box(compartment, day)

    def event_key_key(self, compartment: Compartment) -> bytes:
        """Return the key under which (source, id, time) is looked up in this compartment."""
        key = self._event_key_keys.get(compartment.origin)
        if key is None:
            tenant_key = self._tenant_key(compartment.tenant)
            key = derive_event_key_key(tenant_key=tenant_key, origin=compartment.origin)
            self._event_key_keys[compartment.origin] = key
        return key

    def source_names(self, compartment: Compartment) -> SourceNames:
        """Return what encrypts and opens the names of the compartment's sources."""
        names = self._source_names.get(compartment.origin)
        if names is None:
            tenant_key = self._tenant_key(compartment.tenant)
            names = SourceNames(derive_source_name_key(tenant_key=tenant_key, origin=compartment.origin))
            self._source_names[compartment.origin] = names
        return names

    def source(self, compartment: Compartment, source: str, epoch: str) -> tuple[bytes, bytes]:
        """Return the key of a source in an epoch of its counter, and its name, encrypted once for many events."""
        place = (compartment.origin, source, epoch)
        known = self._sources.get(place)
        if known is None:
            key = source_key(self.event_key_key(compartment), source, epoch)
            name = self.source_names(compartment).seal(source, epoch, key=key, nonce=os.urandom(NONCE_BYTES))
            known = self._sources[place] = key, name
            if len(self._sources) > CACHED_SOURCES:
                self._sources.popitem(last=False)
        return known

    def learn_fence(self, category: str, fence: date) -> None:
        """Drop every key of the category up to the fence, and refuse those days from now on."""
        if fence <= self._fences.get(category, fence.min):
            return
        self._fences[category] = fence
        self.keystore.learn_fence(category, fence)
        for _, day in [key for key in self._day_keys if key[0] == category and key[1] <= fence]:
            self._forget(category, day)

    def learn_ended(self, tenant: str) -> None:
        """Drop every key of a tenant whose contract has ended, and refuse them from now on."""
        self.keystore.learn_ended(tenant)
        self._tenant_keys.pop(tenant, None)
        for key in [key for key in self._boxes if _tenant_of(key[0]) == tenant]:
            del self._boxes[key]
        for origin in [origin for origin in self._event_key_keys if _tenant_of(origin) == tenant]:
            del self._event_key_keys[origin]
        for origin in [origin for origin in self._source_names if _tenant_of(origin) == tenant]:
            del self._source_names[origin]
        for place in [place for place in self._sources if _tenant_of(place[0]) == tenant]:
            del self._sources[place]

    def _tenant_key(self, tenant: str) -> bytes:
        """Return a tenant's key, whose file is looked at once a second at most, and read again only if it is another.

        Raises as `KeyStore.read_tenant_key`.
        """
        known, now = self._tenant_keys.get(tenant), monotonic()
        if known is not None and now - known.looked_at < LOOK_SECONDS:
            return known.key
        mark = self.keystore.mark_of_tenant_key(tenant)
        is_same = known is not None and mark is not None and known.mark == mark
        key = known.key if known is not None and is_same else self.keystore.read_tenant_key(tenant)
        self._tenant_keys[tenant] = _TenantKey(now, mark, key)
        if len(self._tenant_keys) > CACHED_TENANT_KEYS:
            self._tenant_keys.popitem(last=False)
        return key

    def _day_key(self, category: str, day: date) -> bytes:
        key = self._day_keys.get((category, day))
        if key is None:
            with suppress(KeyStoreError):
                self._looks[category, day] = monotonic(), self.keystore.mark_of_day_key(category, day)
            key = self._day_keys[category, day] = self.keystore.read_day_key(category, day)
        return key

    def _has_changed(self, category: str, day: date) -> bool:
        """Tell, at most one look a second, whether the file of a key in memory is gone or another.

        What is encrypted under a key whose file is gone would be lost with this process. A key store that is gone as a
        whole comes back with its keys.
        """
        looked_at, mark = self._looks.get((category, day), (inf, None))
        now = monotonic()
        if now - looked_at < LOOK_SECONDS:
            return False
        try:
            found = self.keystore.mark_of_day_key(category, day)
        except (KeyStoreError, OSError):
            found = mark
        self._looks[category, day] = now, found
        return found != mark

    def _forget(self, category: str, day: date) -> None:
        self._looks.pop((category, day), None)
        self._day_keys.pop((category, day), None)
        self._settled.discard((category, day))
        for key in [key for key in self._boxes if key[1] == day and key[0].endswith(f"/{category}")]:
            del self._boxes[key]


def _tenant_of(origin: str) -> str:
    """Return the tenant of an origin: its last part but one (FORMAT.md, "Terminology")."""
    return origin.rsplit("/", 2)[1]

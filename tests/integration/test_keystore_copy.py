"""The copy of the key store: new keys come, purged days go, and nothing brings a purged day back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from journal.core.entry import RESERVED_TENANT
from journal.core.errors import BusyError, FencedDayError, KeyStoreError, OperatorError
from journal.keys.copy import check_alone, check_apart, check_same, check_source, follow
from journal.keys.last_seal import SealMoment, remember
from journal.keys.store import KeyStore
from journal.keys.wrapped import WrappedKeys

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MASTER, OTHER_MASTER = bytes(range(32)), bytes(32)
CATEGORY = "ecrits"
FIRST = date(2026, 3, 2)
DAYS = [FIRST + timedelta(days=number) for number in range(4)]


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    """A key store with a replica, two tenants' keys and four days'."""
    made = KeyStore(tmp_path / "keys", MASTER, [tmp_path / "replica"])
    for tenant in (RESERVED_TENANT, "albi"):
        made.make_tenant_key(tenant)
    for day in DAYS:
        made.make_day_key(CATEGORY, day)
    remember(made, SealMoment(datetime(2026, 3, 2, 12, tzinfo=UTC), 7))
    return made


@pytest.fixture
def copy(tmp_path: Path) -> KeyStore:
    """Where the copy goes: an empty directory."""
    (tmp_path / "copy").mkdir()
    return opened(tmp_path / "copy")


def opened(directory: Path, master: bytes = MASTER) -> KeyStore:
    """Open a directory as a process that has just started."""
    return KeyStore(directory, master)


def files(store: KeyStore) -> dict[str, bytes]:
    """Return every file of a store's first directory, hidden ones too."""
    directory = store.directories[0]
    paths = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


def purge(store: KeyStore, day: date) -> None:
    """Destroy a day as the purge does."""
    store.raise_fence(CATEGORY, day)
    store.shred_day_key(CATEGORY, day)


def test_it_follows(store: KeyStore, copy: KeyStore) -> None:
    """The copy is the key store, file by file, after new keys and after a purge; again, it has nothing to do."""
    done = follow(copy, store)
    assert (done.copied, done.shredded, done.fences_raised, done.kept, done.failures) == (6, 0, 0, 6, [])
    assert files(copy) == files(store)
    assert (copy.directories[0] / "days").stat().st_mode & 0o077 == 0
    store.make_day_key(CATEGORY, DAYS[-1] + timedelta(days=1))
    purge(store, DAYS[0])
    descriptor = os.open(copy.directories[0] / f"days/{CATEGORY}/{DAYS[0]}", os.O_RDONLY)
    wrapped = os.pread(descriptor, 100, 0)
    done = follow(opened(copy.directories[0]), store)
    assert (done.copied, done.shredded, done.fences_raised, done.kept) == (1, 1, 1, 6)
    assert files(copy) == files(store)
    # Written over before it was removed.
    assert os.pread(descriptor, 100, 0)[:12] != wrapped[:12]
    os.close(descriptor)
    again = follow(opened(copy.directories[0]), store)
    assert (again.copied, again.shredded, again.fences_raised, again.kept, again.only_here) == (0, 0, 0, 6, 0)


def test_no_older_fence_over_a_newer_one(store: KeyStore, copy: KeyStore, tmp_path: Path) -> None:
    """A key store brought back from an old backup gives the copy neither its older fence nor its destroyed keys."""
    shutil.copytree(tmp_path / "keys", tmp_path / "old")
    purge(store, DAYS[1])
    follow(copy, store)
    before = files(copy)
    old = opened(tmp_path / "old")
    old.raise_fence(CATEGORY, FIRST - timedelta(days=9))
    done = follow(opened(copy.directories[0]), old)
    assert (done.copied, done.shredded, done.fences_raised) == (0, 0, 0)
    assert files(copy) == before
    assert copy.fence(CATEGORY) == DAYS[1]


def test_an_ended_contract_follows_both_ways(store: KeyStore, copy: KeyStore) -> None:
    """The copy gives up the key of a contract that ended; the way back brings none to life, whichever side knows."""
    follow(copy, store)
    kept = files(copy)["tenants/albi"]
    store.destroy_tenant_key("albi")
    done = follow(opened(copy.directories[0]), store)
    assert (done.copied, done.shredded, done.failures) == (0, 1, [])
    assert files(copy) == files(store)
    assert follow(copy, store).shredded == 0
    for side in (copy, store):
        (side.directories[0] / "tenants/albi").write_bytes(kept)
        done = follow(store, copy)
        assert (done.copied, done.shredded, done.failures) == (0, 1 if side is store else 0, [])
        assert "tenants/albi" not in files(store)
    (store.directories[0] / "ended/albi").unlink()
    follow(store, copy)
    assert store.knows_ended("albi")


def test_the_way_back(store: KeyStore, copy: KeyStore, tmp_path: Path) -> None:
    """A lost key store is made again from the copy, in every directory; days destroyed since stay destroyed."""
    key = store.read_day_key(CATEGORY, DAYS[3])
    purge(store, DAYS[0])
    follow(copy, store)
    for lost in ("keys", "replica"):
        shutil.rmtree(tmp_path / lost)
    back = KeyStore(tmp_path / "keys", MASTER, [tmp_path / "replica"])
    # What the database knows, and the copy has not heard of yet.
    back.learn_fence(CATEGORY, DAYS[1])
    done = follow(back, copy)
    assert (done.copied, done.kept) == (4, 4)
    for directory in back.directories:
        assert opened(directory).read_day_key(CATEGORY, DAYS[3]) == key
        assert opened(directory).fence(CATEGORY) == DAYS[1]
        assert opened(directory).day_keys(CATEGORY) == DAYS[2:]
    with pytest.raises(FencedDayError):
        back.make_day_key(CATEGORY, DAYS[1])


@pytest.mark.parametrize("damage", ["lost", "damaged"])
def test_a_few_keys_lost(store: KeyStore, copy: KeyStore, damage: str) -> None:
    """The copy is told to hold keys the store has lost; it gives them back, and is repaired from the store itself."""
    follow(copy, store)
    whole = files(store)
    names = [f"days/{CATEGORY}/{DAYS[2]}", f"tenants/{RESERVED_TENANT}"]

    def spoil(directories: tuple[Path, ...], name: str) -> None:
        for directory in directories:
            (directory / name).unlink() if damage == "lost" else (directory / name).write_bytes(b"damaged")

    spoil(store.directories, names[0])
    told = follow(opened(copy.directories[0]), store)
    assert told.only_here == (1 if damage == "lost" else 0)
    assert [names[0] in reason for reason in told.failures] == ([] if damage == "lost" else [True])
    spoil(store.directories, names[1])
    check_same(store, copy)
    assert follow(store, copy).copied == 2
    assert files(store) == whole
    for name in names:
        spoil(copy.directories, name)
    check_same(opened(copy.directories[0]), store)
    assert follow(opened(copy.directories[0]), store).copied == 2
    assert files(copy) == whole


class Destroying(WrappedKeys):
    """Keys whose first day is destroyed while they are copied, once its key has been read."""

    def find(self, name: str) -> tuple[bytes, bytes] | None:
        """Find it, and destroy it."""
        found = super().find(name)
        if name.endswith(f"{FIRST}") and found is not None:
            purge(KeyStore(self._directories[0], MASTER), FIRST)
        return found


def test_destroyed_while_it_is_copied(store: KeyStore, copy: KeyStore, tmp_path: Path) -> None:
    """A key whose day is destroyed between its reading and its writing is given up again, in the same run."""
    assert store.day_keys(CATEGORY) == DAYS
    source = opened(tmp_path / "keys")
    source._keys.__class__ = Destroying
    follow(copy, source)
    assert copy.day_keys(CATEGORY) == DAYS[1:]
    assert copy.fence(CATEGORY) == FIRST


def test_a_medium_that_fails_on_the_way(store: KeyStore, copy: KeyStore) -> None:
    """What is destroyed is destroyed in the copy before anything else is tried there."""
    follow(copy, store)
    purge(store, DAYS[0])
    broken = copy.directories[0] / f"days/{CATEGORY}/{DAYS[1]}"
    broken.unlink()
    broken.mkdir()
    with pytest.raises(OSError, match="directory"):
        follow(opened(copy.directories[0]), store)
    assert DAYS[0] not in copy.day_keys(CATEGORY)


# Ends itself, as a power cut would, just before the n-th thing it does to a file of the copy.
KILLED = """
import os, sys
from pathlib import Path
from journal.keys.store import KeyStore
from journal.keys.copy import follow
source, target, steps = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
done = 0
def look(event, arguments):
    global done
    if event in ("open", "os.link", "os.rename", "os.remove", "os.mkdir") and str(target) in str(arguments[0]):
        done += 1
        if done > steps:
            os._exit(9)
sys.addaudithook(look)
follow(KeyStore(target, bytes(range(32))), KeyStore(source, bytes(range(32))))
"""


def killed(source: Path, target: Path, steps: int) -> bool:
    """Bring a copy up to date in a process that is killed after so many steps; tell whether it was."""
    code = subprocess.run([sys.executable, "-c", KILLED, str(source), str(target), str(steps)], check=False).returncode
    assert code in (0, 9)
    return code == 9


@pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.campaign)])
def test_killed_anywhere(store: KeyStore, tmp_path: Path, stride: int) -> None:
    """Whatever a killed run had come to, what is purged next is nowhere in the copy after the next run."""
    steps = 0
    while True:
        source, target = tmp_path / f"{steps}" / "keys", tmp_path / f"{steps}" / "copy"
        target.mkdir(parents=True)
        shutil.copytree(store.directories[0], source)
        follow(opened(target), opened(source))
        mine = opened(source)
        purge(mine, DAYS[0])
        mine.make_day_key(CATEGORY, DAYS[-1] + timedelta(days=1))
        was_killed = killed(source, target, steps)
        check_alone(target)
        check_same(opened(target), mine)
        # The very key that may be half copied goes next.
        wrapped = (source / f"days/{CATEGORY}/{DAYS[-1] + timedelta(days=1)}").read_bytes()
        for day in [*DAYS, DAYS[-1] + timedelta(days=1)]:
            purge(mine, day)
        follow(opened(target), mine)
        assert [name for name in files(opened(target)) if "days/" in name] == []
        assert wrapped not in files(opened(target)).values()
        assert opened(target).fence(CATEGORY) == DAYS[-1] + timedelta(days=1)
        if not was_killed:
            break
        steps += stride
    assert steps > 20


def test_a_first_copy_killed_anywhere(store: KeyStore, tmp_path: Path) -> None:
    """A copy that was never whole is known by the next run for what it is, and made whole."""
    steps, was_killed = 0, True
    while was_killed:
        target = tmp_path / f"{steps}"
        target.mkdir()
        was_killed = killed(tmp_path / "keys", target, steps)
        check_alone(target)
        check_same(opened(target), store)
        assert follow(opened(target), store).failures == []
        assert {name: content for name, content in files(opened(target)).items() if "/." not in name} == files(store)
        steps += 5
    assert steps > 30


def test_one_run_at_a_time(store: KeyStore, copy: KeyStore) -> None:
    """A second run on the same copy is told to come back."""
    with copy.destroying("another run"), pytest.raises(BusyError, match="another run"), copy.destroying("another run"):
        follow(copy, store)


def test_where_a_copy_cannot_be(store: KeyStore, tmp_path: Path) -> None:
    """Not in the key store, nor around it, nor beside the master key; not where other things are kept."""
    apart = tmp_path / "apart"
    apart.mkdir()
    check_apart(apart, [("the key store", store.directories[0])])
    for copy, other in (
        (tmp_path / "keys", tmp_path / "keys"),
        (tmp_path / "keys" / "copy", tmp_path / "keys"),
        (tmp_path, tmp_path / "keys"),
        (apart, apart / "master.key"),
    ):
        with pytest.raises(OperatorError, match="are not separate"):
            check_apart(copy, [("the key store", other)])
    (apart / "link").symlink_to(tmp_path / "keys")
    with pytest.raises(OperatorError, match="are not separate"):
        check_apart(apart / "link", [("the key store", tmp_path / "keys")])
    with pytest.raises(OperatorError, match="holds link, which is not a key"):
        check_alone(apart)


def another_service(directory: Path, master: bytes) -> KeyStore:
    """Make the key store of another service."""
    made = KeyStore(directory, master)
    made.make_tenant_key(RESERVED_TENANT)
    made.make_day_key(CATEGORY, FIRST)
    return made


@pytest.mark.parametrize("master", [MASTER, OTHER_MASTER])
@pytest.mark.parametrize("without_own", [False, True])
def test_another_service(store: KeyStore, tmp_path: Path, master: bytes, *, without_own: bool) -> None:
    """The copy of another service is refused, under the same master key as well, and is not written to."""
    other = another_service(tmp_path / "other", master)
    if without_own:
        (tmp_path / "other/tenants" / RESERVED_TENANT).unlink()
    before = files(other)
    if without_own and master == MASTER:
        # Nothing says that it is another's but the keys themselves: none is written over.
        check_same(opened(tmp_path / "other"), store)
        [failure] = follow(opened(tmp_path / "other"), store).failures
        assert "is another one in" in failure
        assert before.items() <= files(other).items()
        return
    with pytest.raises(OperatorError, match="of another service"):
        check_same(opened(tmp_path / "other"), store)
    assert files(other) == before


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (shutil.rmtree, "holds no service key"),
        (lambda keys: (keys / "tenants" / RESERVED_TENANT).write_bytes(b"x"), "is not a key store of this master key"),
    ],
)
def test_a_source_that_is_none(tmp_path: Path, damage: Callable[[Path], object], reason: str) -> None:
    """A key store that is lost or damaged is not copied over a good copy."""
    KeyStore(tmp_path / "keys", MASTER).make_tenant_key(RESERVED_TENANT)
    damage(tmp_path / "keys")
    with pytest.raises(OperatorError, match=reason):
        check_source(opened(tmp_path / "keys"))


def test_a_fence_that_cannot_be_read(store: KeyStore, copy: KeyStore) -> None:
    """Where either side cannot say what is destroyed, no day's key is copied, and that is told."""
    for side in (store, copy):
        path = side.directories[0] / "fences" / CATEGORY
        path.parent.mkdir(exist_ok=True)
        path.write_text("soon")
        try:
            failures = follow(copy, store).failures
        except KeyStoreError as error:
            failures = [str(error)]
        assert failures
        assert all(f"the fence of {CATEGORY}" in failure for failure in failures)
        assert copy.day_keys(CATEGORY) == []
        path.unlink()

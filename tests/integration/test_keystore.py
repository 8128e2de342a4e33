"""The key store: durable in every copy before use, read from whichever opens, destroyed everywhere and for ever."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from journal.core.entry import RESERVED_TENANT, Compartment
from journal.core.errors import (
    AbsentKeyError,
    BusyError,
    EndedTenantError,
    FencedDayError,
    KeyStoreError,
    OperatorError,
)
from journal.keys import store as store_module
from journal.keys.last_seal import SealMoment, remember
from journal.keys.store import KeyStore, open_keystore
from journal.keys.wrapped import KEY_BYTES, SERVICE_KEY, make_master_key, read_master_key
from journal.settings import Settings
from tests.support.world import CATEGORY as WORLD_CATEGORY
from tests.support.world import SERVICE, TENANT, make_event, new_world

if TYPE_CHECKING:
    from pathlib import Path

    from journal.cli.installation import Installation
    from journal.core.entry import Event
    from journal.database.embedded import EmbeddedPostgres

MASTER = bytes(range(32))
CATEGORY = "ecrits"
DAY = date(2026, 3, 2)
NAME = f"days/{CATEGORY}/{DAY}"


@pytest.fixture
def directories(tmp_path: Path) -> list[Path]:
    """A directory and two replicas, none of which exists yet."""
    return [tmp_path / name for name in ("keys", "second", "third")]


@pytest.fixture
def store(directories: list[Path]) -> KeyStore:
    """A key store with one tenant's and one day's key."""
    store = founded(directories)
    assert store.make_tenant_key("albi")
    assert store.make_day_key(CATEGORY, DAY)
    return store


def opened(directories: list[Path], master: bytes = MASTER) -> KeyStore:
    """Open the key store as a process that has just started."""
    first, *replicas = directories
    return KeyStore(first, master, replicas)


def founded(directories: list[Path]) -> KeyStore:
    """Return it with the service's own key, which is the first."""
    store = opened(directories)
    assert store.make_tenant_key(RESERVED_TENANT)
    return store


def files(directory: Path) -> list[str]:
    """Return every file there, hidden ones too, but the service's own key."""
    names = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    return sorted(names - {SERVICE_KEY})


def test_a_key_is_in_every_copy_and_nowhere_in_clear(store: KeyStore, directories: list[Path]) -> None:
    """What was made is read again by another process, alike in every copy, wrapped, for its owner's eyes only."""
    key = store.read_day_key(CATEGORY, DAY)
    assert len(key) == KEY_BYTES
    assert key != store.read_tenant_key("albi")
    for directory in directories:
        assert opened([directory]).read_day_key(CATEGORY, DAY) == key
        assert files(directory) == [NAME, "tenants/albi"]
        assert key not in (directory / NAME).read_bytes()
        assert (directory / NAME).stat().st_mode & 0o077 == 0
        assert (directory / "days").stat().st_mode & 0o077 == 0
    assert not store.make_day_key(CATEGORY, DAY)
    assert store.read_day_key(CATEGORY, DAY) == key


def test_a_key_that_was_never_made(store: KeyStore) -> None:
    """An absent key is said to be absent, and is not made by reading it."""
    for _ in range(2):
        with pytest.raises(AbsentKeyError, match=f"{CATEGORY}/2026-03-03 is not in the key store"):
            store.read_day_key(CATEGORY, DAY + timedelta(days=1))
    with pytest.raises(AbsentKeyError):
        store.read_tenant_key("sete")


@pytest.mark.parametrize("damage", ["lost", "damaged", "truncated", "empty"])
@pytest.mark.parametrize("copies", [[0], [1], [2], [0, 1], [0, 2], [1, 2]])
def test_a_copy_that_is_lost_or_damaged(
    store: KeyStore, directories: list[Path], damage: str, copies: list[int]
) -> None:
    """As long as one copy is whole the key is read, never another made; `make` and `repair` restore the others."""
    key = store.read_day_key(CATEGORY, DAY)
    whole = (directories[0] / NAME).read_bytes()
    for repair in (KeyStore.repair, make_again):
        for copy in copies:
            spoil(directories[copy] / NAME, damage)
        assert opened(directories).read_day_key(CATEGORY, DAY) == key
        repair(opened(directories))
        assert [(directory / NAME).read_bytes() for directory in directories] == [whole] * 3


@pytest.mark.parametrize("damage", ["lost", "damaged", "truncated", "empty", "another", "unmounted"])
@pytest.mark.parametrize("copy", [0, 1, 2])
def test_a_copy_that_lacks_a_key_is_named(store: KeyStore, directories: list[Path], damage: str, copy: int) -> None:
    """The key is read from the others; that one of the copies could not give it is said, and where."""
    store.confirm_day_key(CATEGORY, DAY)
    store.confirm_tenant_key("albi")
    if damage == "unmounted":
        directories[copy].rename(directories[copy].with_name("elsewhere"))
        directories[copy].touch()
    elif damage == "another":
        (directories[copy] / NAME).unlink()
        assert opened(directories[copy : copy + 1]).make_day_key(CATEGORY, DAY)
    else:
        spoil(directories[copy] / NAME, damage)
    with pytest.raises(KeyStoreError) as caught:
        opened(directories).confirm_day_key(CATEGORY, DAY)
    # Of two keys under one name, the first copy's is taken for the right one.
    assert str(directories[copy if damage != "another" else max(copy, 1)]) in str(caught.value)
    assert NAME in str(caught.value)


def make_again(store: KeyStore) -> None:
    """Do what maintenance does every hour."""
    assert not store.make_day_key(CATEGORY, DAY)


def spoil(path: Path, damage: str) -> None:
    """Do this to a file."""
    content = path.read_bytes() if path.is_file() else b""
    if damage == "lost":
        path.unlink(missing_ok=True)
    else:
        path.write_bytes({"damaged": content[:-1] + b"\0\1", "truncated": content[:20], "empty": b""}[damage])


def test_a_medium_that_fails(store: KeyStore, directories: list[Path]) -> None:
    """A copy that gives an error, not merely nothing, is passed over for another; it is no reason to go on alone."""
    key = store.read_day_key(CATEGORY, DAY)
    path = directories[0] / NAME
    path.unlink()
    path.mkdir()
    assert opened(directories).read_day_key(CATEGORY, DAY) == key
    with pytest.raises(OSError, match="directory"):
        opened(directories).make_day_key(CATEGORY, DAY)
    with pytest.raises(KeyStoreError, match="cannot be read"):
        opened(directories[:1]).read_day_key(CATEGORY, DAY)


def test_no_copy_left_whole(store: KeyStore, directories: list[Path]) -> None:
    """Where no copy opens, that is said; nothing is made in its place."""
    for directory in directories:
        spoil(directory / NAME, "damaged")
    before = [(directory / NAME).read_bytes() for directory in directories]
    for attempt in (store.read_day_key, store.make_day_key):
        with pytest.raises(KeyStoreError, match=f"{NAME} does not open"):
            attempt(CATEGORY, DAY)
    with pytest.raises(KeyStoreError, match=f"{NAME} does not open"):
        store.repair()
    assert [(directory / NAME).read_bytes() for directory in directories] == before


def test_repair_goes_on_past_what_it_cannot_repair(store: KeyStore, directories: list[Path]) -> None:
    """One lost key does not keep the others from being copied."""
    store.make_day_key(CATEGORY, DAY + timedelta(days=1))
    for directory in directories:
        spoil(directory / NAME, "empty")
    later = directories[0] / f"days/{CATEGORY}/2026-03-03"
    later.unlink()
    (directories[2] / "tenants/albi").unlink()
    with pytest.raises(KeyStoreError, match=NAME):
        store.repair()
    assert later.exists()
    assert (directories[2] / "tenants/albi").exists()


def test_a_replica_added_later(store: KeyStore, directories: list[Path], tmp_path: Path) -> None:
    """A new replica, begun with the service's own key, is filled with every key and fence."""
    store.make_day_key(CATEGORY, DAY + timedelta(days=1))
    store.raise_fence(CATEGORY, DAY)
    store.shred_day_key(CATEGORY, DAY)
    (tmp_path / "new" / "tenants").mkdir(parents=True)
    shutil.copy(directories[0] / SERVICE_KEY, tmp_path / "new" / SERVICE_KEY)
    opened([*directories, tmp_path / "new"]).repair()
    assert files(tmp_path / "new") == files(directories[0])


def test_two_keys_under_one_name(store: KeyStore, directories: list[Path]) -> None:
    """Two good copies of different keys are for a person to judge: neither is overwritten."""
    other = founded([directories[0].with_name("other")])
    other.make_day_key(CATEGORY, DAY)
    foreign = (directories[0].with_name("other") / NAME).read_bytes()
    (directories[1] / NAME).write_bytes(foreign)
    with pytest.raises(KeyStoreError, match=f"{NAME} is another one in"):
        store.repair()
    assert (directories[1] / NAME).read_bytes() == foreign


def test_another_master_key(store: KeyStore, directories: list[Path]) -> None:
    """Under another master key nothing opens, and no new key is made that the right one could not read."""
    wrong = opened(directories, bytes(32))
    with pytest.raises(KeyStoreError, match="another master key"):
        wrong.read_day_key(CATEGORY, DAY)
    with pytest.raises(KeyStoreError, match="the master key opens none"):
        wrong.make_day_key(CATEGORY, DAY + timedelta(days=1))
    with pytest.raises(KeyStoreError, match="the master key opens none"):
        wrong.make_tenant_key("new")
    assert store.day_keys(CATEGORY) == [DAY]


@pytest.mark.parametrize("name", ["days/ecrits/2026-03-03", "days/journal/2026-03-02", "tenants/sete"])
def test_a_key_copied_under_another_name(store: KeyStore, directories: list[Path], name: str) -> None:
    """A wrapped key opens under its own name only: a day cannot be given another day's key."""
    for directory in directories:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((directory / NAME).read_bytes())
    kind, *rest = name.split("/")
    with pytest.raises(KeyStoreError, match="copied from elsewhere"):
        store.read_tenant_key(*rest) if kind == "tenants" else store.read_day_key(rest[0], date.fromisoformat(rest[1]))


def test_the_fence_in_any_copy_wins(store: KeyStore, directories: list[Path]) -> None:
    """One copy that knows of a purged day is enough, and so is the database: never made, never read again."""
    store.raise_fence(CATEGORY, DAY - timedelta(days=1))
    for directory in directories:
        assert (directory / "fences" / CATEGORY).read_text() == "2026-03-01\n"
    (directories[2] / "fences" / CATEGORY).write_text("2026-03-02\n")
    for refused in (opened(directories), learnt(opened(directories[:1]))):
        assert refused.fence(CATEGORY) == DAY
        for attempt in (refused.read_day_key, refused.make_day_key):
            with pytest.raises(FencedDayError, match="never made or read again"):
                attempt(CATEGORY, DAY)
        assert refused.make_day_key("journal", DAY) in (True, False)


def learnt(store: KeyStore) -> KeyStore:
    """Return the store once it has heard from the database."""
    store.learn_fence(CATEGORY, DAY)
    store.learn_fence(CATEGORY, DAY - timedelta(days=9))
    return store


def test_a_fence_never_goes_back(store: KeyStore, directories: list[Path]) -> None:
    """Raising it to an earlier day leaves it, and brings a copy that lagged up to date."""
    store.raise_fence(CATEGORY, DAY)
    (directories[1] / "fences" / CATEGORY).unlink()
    store.raise_fence(CATEGORY, DAY - timedelta(days=5))
    for directory in directories:
        assert opened([directory]).fence(CATEGORY) == DAY


def test_a_fence_that_cannot_be_read(store: KeyStore, directories: list[Path]) -> None:
    """A copy that cannot say what is destroyed stops everything of that category: it might know of a newer one."""
    path = directories[1] / "fences" / CATEGORY
    path.parent.mkdir()
    path.write_text("soon")
    with pytest.raises(KeyStoreError, match="cannot be read"):
        store.read_day_key(CATEGORY, DAY)
    path.unlink()
    path.mkdir()
    with pytest.raises(KeyStoreError, match="cannot be read"):
        store.make_day_key(CATEGORY, DAY)


def test_shredding(store: KeyStore, directories: list[Path]) -> None:
    """A key is destroyed in every copy, overwritten first, only behind its fence; repeating that is harmless."""
    with pytest.raises(KeyStoreError, match="its fence is not raised"):
        store.shred_day_key(CATEGORY, DAY)
    store.raise_fence(CATEGORY, DAY)
    descriptors = [os.open(directory / NAME, os.O_RDONLY) for directory in directories]
    wrapped = os.pread(descriptors[0], 100, 0)
    for _ in range(2):
        store.shred_day_key(CATEGORY, DAY)
    for descriptor in descriptors:
        left = os.pread(descriptor, 100, 0)
        os.close(descriptor)
        assert len(left) == len(wrapped)
        assert left != wrapped
    assert [files(directory) for directory in directories] == [[f"fences/{CATEGORY}", "tenants/albi"]] * 3
    assert store.day_keys(CATEGORY) == []


def test_a_key_brought_back_from_a_backup(store: KeyStore, directories: list[Path]) -> None:
    """A destroyed key that somebody copies back is refused, still listed as something to destroy, and not spread."""
    wrapped = (directories[1] / NAME).read_bytes()
    store.raise_fence(CATEGORY, DAY)
    store.shred_day_key(CATEGORY, DAY)
    (directories[1] / NAME).write_bytes(wrapped)
    back = opened(directories)
    with pytest.raises(FencedDayError):
        back.read_day_key(CATEGORY, DAY)
    back.repair()
    assert not (directories[0] / NAME).exists()
    assert back.day_keys(CATEGORY) == [DAY]
    back.shred_day_key(CATEGORY, DAY)
    assert back.day_keys(CATEGORY) == []


def test_files_of_others(store: KeyStore, directories: list[Path]) -> None:
    """What is no key of ours in the directory neither counts nor stops anything."""
    for name in ("notes.txt", "20260302", "2026-W10-1", ".2026-03-09.17.ab"):
        (directories[0] / f"days/{CATEGORY}/{name}").write_bytes(b"x")
    assert store.day_keys(CATEGORY) == [DAY]
    store.repair()


RACE = """
import sys
from datetime import date, timedelta
from pathlib import Path
from journal.keys.store import KeyStore
store = KeyStore(Path(sys.argv[1]), bytes(range(32)), [Path(sys.argv[2])])
sys.stdin.read()
for number in range(20):
    day = date(2026, 3, 2) + timedelta(days=number)
    made = store.make_day_key("ecrits", day)
    print(int(made), store.read_day_key("ecrits", day).hex())
"""


def test_processes_that_race_to_make_a_key(directories: list[Path]) -> None:
    """Of several processes that make the same keys at once, each is made by exactly one, and all read the same."""
    founded(directories[:2])
    command = [sys.executable, "-c", RACE, str(directories[0]), str(directories[1])]
    racers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.close()
    told = []
    for racer in racers:
        assert racer.stdout is not None
        told.append([line.split() for line in racer.stdout])
        racer.stdout.close()
        assert racer.wait() == 0
    for answers in zip(*told, strict=True):
        assert sum(int(made) for made, _ in answers) == 1
        assert len({key for _, key in answers}) == 1
    assert (directories[0] / NAME).read_bytes() == (directories[1] / NAME).read_bytes()


# Ends itself, as a power cut would, just before the n-th thing it does to a file of the store.
KILLED = """
import os, sys
from datetime import date
from pathlib import Path
from journal.keys.store import KeyStore
first, second, steps = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
store = KeyStore(first, bytes(range(32)), [second])
day = date(2026, 3, 2)
done = 0
def look(event, arguments):
    global done
    if event in ("open", "os.link", "os.rename", "os.remove", "os.mkdir") and str(first.parent) in str(arguments[0]):
        done += 1
        if done > steps:
            os._exit(9)
sys.addaudithook(look)
if sys.argv[4] == "make":
    store.make_day_key("ecrits", day)
else:
    store.raise_fence("ecrits", day)
    store.shred_day_key("ecrits", day)
"""


def killed(directories: list[Path], steps: int, work: str) -> bool:
    """Run some work that is killed after so many steps; tell whether it was."""
    command = [sys.executable, "-c", KILLED, str(directories[0]), str(directories[1]), str(steps), work]
    code = subprocess.run(command, check=False).returncode
    assert code in (0, 9)
    return code == 9


def test_killed_anywhere_while_making_a_key(tmp_path: Path) -> None:
    """Whatever a process that was killed had come to, the next one makes or finds one key, the same in every copy."""
    steps = 0
    while True:
        directories = [tmp_path / f"{steps}" / name for name in ("keys", "second")]
        founded(directories)
        was_killed = killed(directories, steps, "make")
        store = opened(directories)
        store.make_day_key(CATEGORY, DAY)
        key = store.read_day_key(CATEGORY, DAY)
        assert [opened([directory]).read_day_key(CATEGORY, DAY) for directory in directories] == [key, key]
        store.raise_fence(CATEGORY, DAY)
        store.shred_day_key(CATEGORY, DAY)
        assert [files(directory) for directory in directories] == [[f"fences/{CATEGORY}"]] * 2
        if not was_killed:
            break
        steps += 1
    assert steps > 15


def test_killed_anywhere_while_shredding(tmp_path: Path) -> None:
    """Whatever had been destroyed when the process was killed, the next one destroys the rest."""
    steps = 0
    while True:
        directories = [tmp_path / f"{steps}" / name for name in ("keys", "second")]
        founded(directories).make_day_key(CATEGORY, DAY)
        was_killed = killed(directories, steps, "shred")
        store = opened(directories)
        store.raise_fence(CATEGORY, DAY)
        store.shred_day_key(CATEGORY, DAY)
        for directory in directories:
            assert [name for name in files(directory) if "days/" in name] == []
            assert opened([directory]).fence(CATEGORY) == DAY
        if not was_killed:
            break
        steps += 1
    assert steps > 10


def test_the_master_key(tmp_path: Path) -> None:
    """It is made once, never anew; what cannot be one is refused with its name."""
    path = tmp_path / "master.key"
    make_master_key(path)
    key = read_master_key(path)
    make_master_key(path)
    assert read_master_key(path) == key
    assert len(key) == KEY_BYTES
    assert path.stat().st_mode & 0o077 == 0
    for content in ("", "zz" * 32, "ab" * 31, "ab" * 33, "é"):
        path.write_text(content)
        with pytest.raises(OperatorError, match=r"master\.key"):
            read_master_key(path)
    path.unlink()
    with pytest.raises(OperatorError, match="is missing"):
        open_keystore(Settings(home=str(tmp_path)))


def test_where_the_settings_put_it(tmp_path: Path) -> None:
    """The settings name the directory, its replicas and the master key's file."""
    make_master_key(tmp_path / "elsewhere")
    settings = Settings(
        keystore=str(tmp_path / "a"),
        keystore_replicas=(str(tmp_path / "b"),),
        master_key_file=str(tmp_path / "elsewhere"),
    )
    open_keystore(settings).make_tenant_key(RESERVED_TENANT)
    assert (tmp_path / "a" / SERVICE_KEY).read_bytes() == (tmp_path / "b" / SERVICE_KEY).read_bytes()


@pytest.mark.parametrize("copy", [0, 1])
def test_a_copy_that_is_not_mounted(directories: list[Path], copy: int) -> None:
    """Nothing is made, repaired or destroyed: its place takes no key, and what it holds does not outlive a purge."""
    store = founded(directories)
    store.make_day_key(CATEGORY, DAY)
    away = directories[copy]
    mounted = away.rename(away.with_name("mounted"))
    for is_there in (False, True):
        if is_there:
            away.mkdir()
        for attempt in (
            lambda: store.make_day_key(CATEGORY, DAY + timedelta(days=1)),
            lambda: store.make_tenant_key("sete"),
            lambda: store.raise_fence(CATEGORY, DAY),
            lambda: store.destroy_tenant_key("albi"),
            lambda: store.ledger.writing().__enter__(),
            store.repair,
        ):
            with pytest.raises(KeyStoreError, match=f"{away} is not a copy of this key store: mount it"):
                attempt()
        assert not away.exists() or files(away) == []
    assert store.fence(CATEGORY) is None
    away.rmdir()
    mounted.rename(away)
    store.raise_fence(CATEGORY, DAY)
    store.shred_day_key(CATEGORY, DAY)
    assert files(away) == [f"fences/{CATEGORY}"]


@pytest.mark.parametrize("copies", [1, 2])
def test_a_key_store_that_is_not_mounted(directories: list[Path], copies: int) -> None:
    """Gone as a whole, nothing is made where it was, and no directory either; it comes back as it was."""
    store = founded(directories[:copies])
    assert store.make_day_key(CATEGORY, DAY)
    for directory in directories[:copies]:
        directory.rename(directory.with_name(f"{directory.name} away"))
    for attempt in (
        lambda: store.make_day_key(CATEGORY, DAY + timedelta(days=1)),
        lambda: store.make_tenant_key("sete"),
        lambda: store.raise_fence(CATEGORY, DAY),
        lambda: store.destroy_tenant_key("albi"),
        lambda: remember(store, SealMoment(datetime(2026, 3, 2, tzinfo=UTC), 1)),
    ):
        with pytest.raises(KeyStoreError, match=f"{directories[0]} is not a copy of this key store: mount it"):
            attempt()
    for directory in directories[:copies]:
        assert not directory.exists()
        directory.with_name(f"{directory.name} away").rename(directory)
    assert not store.make_day_key(CATEGORY, DAY)


class TestEndedTenants:
    """The key of a contract that has ended."""

    def test_it_is_destroyed_in_every_copy(self, store: KeyStore, directories: list[Path]) -> None:
        """Nothing of it is left, what a killed process left on the way to it included; others' keys stay."""
        assert store.make_tenant_key("sete")
        (directories[1] / "tenants/.albi.123.abcd").write_bytes(b"half a key")
        for _ in range(2):
            store.destroy_tenant_key("albi")
            for directory in directories:
                assert files(directory) == [NAME, "ended/albi", "tenants/sete"]
        assert store.ended_tenants() == ["albi"]
        assert store.tenant_keys() == [RESERVED_TENANT, "sete"]

    def test_one_copy_that_knows_is_enough(self, store: KeyStore, directories: list[Path]) -> None:
        """So is the database: a key that is there is neither read nor made; what the database says destroys nothing."""
        key = store.read_tenant_key("albi")
        (directories[2] / "ended").mkdir()
        (directories[2] / "ended/albi").touch()
        told = opened(directories[:1])
        told.learn_ended("albi")
        for refused in (opened(directories), told):
            for attempt in (refused.read_tenant_key, refused.make_tenant_key):
                with pytest.raises(EndedTenantError, match="the contract of albi has ended"):
                    attempt("albi")
        told.repair()
        assert opened(directories[:1]).read_tenant_key("albi") == key
        opened(directories).repair()
        for directory in directories:
            assert files(directory) == [NAME, "ended/albi"]

    @pytest.mark.parametrize("copies", [1, 3])
    def test_a_copy_that_comes_back(self, store: KeyStore, directories: list[Path], copies: int) -> None:
        """Put back in any copy, it is refused at once and destroyed by the next repair, with one copy alone too."""
        kept = (directories[0] / "tenants/albi").read_bytes()
        store.destroy_tenant_key("albi")
        for directory in directories[:copies]:
            (directory / "tenants/albi").write_bytes(kept)
            with pytest.raises(EndedTenantError):
                opened(directories[:copies]).read_tenant_key("albi")
            opened(directories[:copies]).repair()
            assert not (directory / "tenants/albi").exists()

    def test_a_repair_meanwhile(self, store: KeyStore, directories: list[Path]) -> None:
        """A process that had read the key, and copies it once another has destroyed it, destroys it again."""

        class Late(KeyStore):
            def tenant_keys(self) -> list[str]:
                found = super().tenant_keys()
                store.destroy_tenant_key("albi")
                (directories[1] / "tenants/albi").write_bytes(kept)
                return found

        kept = (directories[0] / "tenants/albi").read_bytes()
        Late(directories[0], MASTER, directories[1:]).repair()
        for directory in directories:
            assert files(directory) == [NAME, "ended/albi"]


async def test_readiness_names_a_copy_that_is_gone(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """A replica that is not mounted any more is told, though every key can still be read."""
    replica = tmp_path / "replica"
    async with new_world(postgres, tmp_path, keystore_replicas=(str(replica),)) as world:
        assert (await world.service.checks.run())["keys"] is None
        replica.rename(tmp_path / "unmounted")
        assert str(replica) in str((await world.service.checks.run())["keys"])
        (tmp_path / "unmounted").rename(replica)
        assert (await world.service.checks.run())["keys"] is None


async def test_nothing_is_acknowledged_under_a_key_that_a_replica_does_not_take(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    """A process that finds today's key in one copy alone writes it to the other first, or has no key for the day."""
    replica = tmp_path / "replica"
    async with new_world(postgres, tmp_path, keystore_replicas=(str(replica),)) as world:
        name = f"days/{WORLD_CATEGORY}/{world.today}"
        (replica / name).unlink()
        (replica / name).mkdir()
        async with world.another_process() as other:
            with pytest.raises(BusyError, match="no key for today"):
                await submitted(other, make_event(world.clock.now()))
            (replica / name).rmdir()
            await submitted(other, make_event(world.clock.now()))
        assert (replica / name).read_bytes() == (world.settings.keystore_path / name).read_bytes()


async def submitted(installation: Installation, event: Event) -> None:
    """Have one event recorded."""
    await installation.service.writer.submit(Compartment(SERVICE, TENANT, WORLD_CATEGORY), "test", [event], 1000)


def test_a_look_at_the_lock_hinders_no_run(store: KeyStore, directories: list[Path]) -> None:
    """Looks see a run and not each other; a run that begins while somebody looks is not refused for it."""
    looking = os.open(directories[0], os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    assert not store.is_destroying()
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        os.close(looking)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("journal.keys.store.time.sleep", pause)
        with store.destroying():
            assert pauses == [store_module.LOOK_PAUSE_SECONDS]
            assert opened(directories).is_destroying()
            with pytest.raises(BusyError, match="another purge is running"), opened(directories).destroying():
                pass
    assert len(pauses) == 1
    assert not store.is_destroying()


def test_a_look_that_does_not_end_is_not_waited_for_for_ever(
    store: KeyStore, directories: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a process that was stopped in the middle of one."""
    monkeypatch.setattr(store_module, "LOOK_PAUSE_SECONDS", 0)
    looking = os.open(directories[0], os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    with pytest.raises(BusyError), store.destroying():
        pass
    os.close(looking)
    with store.destroying():
        pass


def test_a_look_makes_no_key_store(store: KeyStore, directories: list[Path]) -> None:
    """Where it is not mounted, the audit leaves nothing behind that a mount would hide."""
    shutil.rmtree(directories[0])
    assert not store.is_destroying()
    assert not directories[0].exists()

"""An authority's request to preserve: encrypted files at once, and the rule is not bent."""

from __future__ import annotations

from contextlib import asynccontextmanager, closing
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from journal.cli import hold as hold_command
from journal.cli.commands import extract
from journal.cli.parser import make_parser
from journal.core.errors import BusyError, OperatorError
from journal.pki.certificates import der_to_pem
from journal.reading.register import Register
from retention import preservation
from retention.outbox import Outbox
from tests.support.addressees import add_person, tell_all
from tests.support.communes import SHORT, commune, commune_world, names, opened, root
from tests.support.contents import members, told
from tests.support.ending import check_signed
from tests.support.mail import running_mail_server
from tests.support.world import CATEGORY, DAY, FIRST, OTHER_TENANT, TENANT, World, copied, settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

REFERENCE, ISSUER = "2026/4127", "Parquet d'Albi"


@copied
@asynccontextmanager
async def three_days(postgres: EmbeddedPostgres, home: Path) -> AsyncIterator[World]:
    """Give an installation whose first commune receives its days, with entries of three days in two categories."""
    async with commune_world(postgres, home) as made:
        for number in range(3):
            await made.travel_to(FIRST + number * DAY)
            for category in (SHORT.code, CATEGORY):
                await made.record(2, category=category)
        await made.seal()
        yield made


pytestmark = [
    pytest.mark.world(made_by=three_days),
    pytest.mark.usefixtures("no_documents", "commands_on_the_clock_of_the_world"),
]


async def hold(world: World, *options: str, first: int = 0, last: int = 1, tenant: str = TENANT) -> int:
    """Run the command on the world's installation, for these days from the first on."""
    days = ["--from", str(FIRST + first * DAY), "--to", str(FIRST + last * DAY)]
    asked = ["--reference", REFERENCE, "--issuer", ISSUER, "--date", str(FIRST)]
    arguments = make_parser().parse_args(["hold", "--tenant", tenant, *days, *asked, *options])
    return await hold_command.hold(settings_of(world), arguments)


def check_listed(world: World, files: list[Path]) -> None:
    """Check, as the recipient does, the signed list of files that stands beside them: it names neither who nor why."""
    (inventory,) = (root(world) / TENANT).glob("*.json")
    listed = check_signed(world, inventory, inventory.with_name(f"{inventory.name}.p7s"))
    assert (listed["format"], listed["night"]) == ("openepm-journal/handover/v1", str(world.today))
    assert {one["name"]: (one["sha256"], one["bytes"]) for one in listed["files"]} == {
        path.name: (sha256(path.read_bytes()).hexdigest(), path.stat().st_size) for path in files
    }
    assert [(one["base"]["size"], one["head"]["size"]) for one in listed["files"]] == [(0, 4)] * len(files)
    for said in (REFERENCE, ISSUER):
        assert said.encode() not in inventory.read_bytes()


async def test_days_are_preserved_at_once(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A complete file for each category, which its recipient opens; one entry; the purge comes when it would have."""
    holder = commune()
    await world.installation.administration.register_recipient(TENANT, der_to_pem([holder.certificate]))
    assert await hold(world, "--category", SHORT.code, "--category", CATEGORY) == 0
    said = capsys.readouterr().out
    assert "the rule is not bent" in said
    assert f"the service destroys these days from {FIRST + 5 * DAY} to {FIRST + 6 * DAY}, at the latest" in said
    files = [root(world) / TENANT / name for name in names(world) if name.endswith(".p7m")]
    check_listed(world, files)
    assert [path.name.split("_conservation-")[0] for path in files] == [
        f"{TENANT}_{code}_{FIRST}_{FIRST + DAY}" for code in (SHORT.code, CATEGORY)
    ]
    assert REFERENCE.replace("/", "") not in "".join(names(world))
    for path in files:
        assert sha256(path.read_bytes()).hexdigest() in said
        content = opened(path, holder, tmp_path)
        manifest = world.verify(content).manifest
        assert (manifest.purpose, manifest.requester) == ("criminal-proceedings", "demande de conservation")
        assert manifest.request.reference == REFERENCE
        assert manifest.authorisation is not None
        assert (manifest.authorisation.issuer, manifest.disclosed, manifest.withheld) == (ISSUER, 4, 0)
        assert len(members(content)) == 4
    kinds = [
        (kind, data.get("change")) for kind, _, data in await told(world) if "requester" in data or "change" in data
    ]
    assert kinds[-3:] == [("setting", "preservation asked"), ("extract", None), ("extract", None)]
    # It counts as no hand-over, and delays nothing: at its limit the day goes.
    assert await world.service.store.unlisted_handovers(TENANT) == []
    await world.travel_to(FIRST + 4 * DAY, hour=23)
    await world.installation.purger.run(max_days=None)
    rows = await world.service.store.partitions()
    assert FIRST not in {row.day for row in rows if row.category == SHORT.code}
    # What is gone is said; the rest is preserved; nothing left is an error.
    assert await hold(world, "--category", SHORT.code, last=2) == 0
    assert f"{SHORT.code}: the days up to {FIRST} are destroyed already" in capsys.readouterr().out
    with pytest.raises(OperatorError, match="every day that was asked for is destroyed"):
        await hold(world, "--category", SHORT.code, last=0)


async def test_an_authority_opens_its_own(world: World, tmp_path: Path) -> None:
    """With its certificate, the files are in another directory, and the commune cannot open them."""
    authority = commune("RSA")
    certificate, directory = tmp_path / "authority.pem", tmp_path / "away"
    certificate.write_bytes(der_to_pem([authority.certificate]))
    directory.mkdir()
    asked = ("--category", CATEGORY, "--certificate", str(certificate))
    with pytest.raises(OperatorError, match="--certificate needs --directory"):
        await hold(world, *asked)
    assert await hold(world, *asked, "--directory", str(directory)) == 0
    assert not (root(world) / TENANT).exists()
    (path,) = (directory / TENANT).glob("*.p7m")
    assert world.verify(opened(path, authority, tmp_path)).manifest.disclosed == 4
    with pytest.raises(AssertionError):
        opened(path, commune(), tmp_path)


async def test_what_cannot_be_preserved(world: World) -> None:
    """Each refusal says why, before anything is recorded or written."""
    before = await told(world)
    asked = ("--category", CATEGORY)
    for options, days, reason in (
        (("--category", "absente"), {}, "there is no category absente"),
        (asked, {"last": 9}, "none is to come"),
        (asked, {"first": 2, "last": 1}, "in their order"),
        (asked, {"first": -9, "last": -8}, "has no entries of these days"),
        (asked, {"tenant": OTHER_TENANT}, "has registered no certificate"),
        (asked, {"tenant": "nulle"}, "there is no commune nulle"),
        ((*asked, "--directory", "/nowhere"), {}, "/nowhere: No such file"),
        ((*asked, "--reference", " "), {}, "--reference is blank"),
        ((*asked, "--issuer", "a\u202eb"), {}, "--issuer"),
    ):
        with pytest.raises(OperatorError, match=reason):
            await hold(world, *options, **days)
    root(world).mkdir(exist_ok=True)
    with closing(Outbox.hold(root(world), TENANT)), pytest.raises(BusyError, match="another run is handing over"):
        await hold(world, *asked)
    assert await told(world) == before


async def test_a_late_purge_comes_first(world: World) -> None:
    """Where a day of one category is past its limit, nothing is recorded nor placed: not even of another."""
    await world.travel_to(FIRST + 6 * DAY)
    before = await told(world)
    asked = ("--category", CATEGORY, "--category", SHORT.code)
    with pytest.raises(OperatorError, match=f"{SHORT.code}: {FIRST} is past its limit .* Run openepm-journal purge"):
        await hold(world, *asked, last=2)
    assert await told(world) == before
    assert not list(root(world).rglob("*conservation*"))
    await world.installation.purger.run(max_days=None)
    assert await hold(world, *asked, last=2) == 0


async def test_nobody_asks_in_the_name_of_the_service(world: World) -> None:
    """An extract by the host is told to the communes, and is in the register: no name hides it."""
    days = [
        "--from",
        str(FIRST),
        "--to",
        str(FIRST),
        "--purpose",
        "lawfulness",
        "-o",
        "x.asice",
        "--request-reference",
        "R",
    ]
    arguments = make_parser().parse_args(
        ["extract", "--tenant", TENANT, "--category", CATEGORY, *days, "--requester", "demande de conservation"]
    )
    with pytest.raises(OperatorError, match="is what the service calls itself"):
        await extract(settings_of(world), arguments)


async def test_a_file_is_never_replaced(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked twice in a second, once; and where a file cannot be put in place, nothing of it is left."""
    holder = commune()
    await world.installation.administration.register_recipient(TENANT, der_to_pem([holder.certificate]))
    # As if all were asked within one second, however long it takes.
    moment, name_at = world.clock.now(), preservation.file_name
    monkeypatch.setattr(preservation, "file_name", lambda tenant, held, _: name_at(tenant, held, moment))
    await hold(world, "--category", CATEGORY)
    listed, signature, name = names(world)
    assert (listed.endswith("Z.json"), signature) == (True, f"{listed}.p7s")
    kept = (root(world) / TENANT / name).read_bytes()
    with pytest.raises(BusyError, match="this very second"):
        await hold(world, "--category", CATEGORY)
    assert (root(world) / TENANT / name).read_bytes() == kept

    def failing(_: Outbox, name: str) -> None:
        raise OSError(28, "No space left on device", name)

    monkeypatch.setattr(Outbox, "place", failing)
    with pytest.raises(OperatorError, match="nothing more was preserved"):
        await hold(world, "--category", SHORT.code)
    assert sorted(path.name for path in (root(world) / TENANT).iterdir()) == [".lock", listed, signature, name]


async def test_what_was_placed_before_an_error_is_listed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first category's file stays, in an inventory that names it alone."""
    real = Outbox.place

    def place(outbox: Outbox, name: str) -> None:
        if SHORT.code in name:
            raise OSError(28, "No space left on device", name)
        real(outbox, name)

    monkeypatch.setattr(Outbox, "place", place)
    with pytest.raises(OperatorError, match="nothing more was preserved"):
        await hold(world, "--category", CATEGORY, "--category", SHORT.code)
    check_listed(world, list((root(world) / TENANT).glob("*.p7m")))


async def test_who_is_shown_it(world: World) -> None:
    """Those who see what filters ask for, and no auditor; nobody is mailed of it."""
    login = "a.martin@albi.example"
    await add_person(world.service, login, tenant=TENANT, categories=[CATEGORY], mails="extract seals-never")
    await hold(world, "--category", CATEGORY)
    register = Register(world.service.chronicle)
    for values in (True, False):
        page = await register.page(TENANT, [CATEGORY], after=-1, limit=9, values=values)
        assert [one["reference"] for one in page.extracts] == [REFERENCE] * values
    async with running_mail_server() as mail:
        assert await tell_all(world.service, mail) == 0

"""What the operator sets up, and that each act is an entry; what cannot be is refused in plain words."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from journal.admin.administration import DEFAULT_CATEGORIES, NewCategory
from journal.choices import CREDENTIAL_ROLES, DEFAULT_BASIS
from journal.core.entry import JOURNAL_CATEGORY, RESERVED_TENANT
from journal.core.errors import OperatorError, StoreError
from journal.database.admin import LEGAL_BASES
from tests.support.contents import told
from tests.support.world import CATEGORY, DAY, OTHER_TENANT, START, TENANT, World, make_event

if TYPE_CHECKING:
    from journal.admin.administration import Administration


async def killed(*_: Any) -> None:
    """End here, as a process that is killed does."""
    raise OSError("killed")


@pytest.fixture
def administration(world: World) -> Administration:
    """Its administration."""
    return world.installation.administration


class TestTenants:
    """Communes: added once, ended once, their codes never used again."""

    async def test_a_new_tenant_has_every_chain(self, world: World, administration: Administration) -> None:
        """It has an empty chain in each category and a key, and events are accepted for each at once."""
        await administration.add_tenant("castres", "Ville de Castres")
        codes = [category.code for category in DEFAULT_CATEGORIES]
        heads = await world.service.store.read_heads(["castres"] * len(codes), codes)
        assert {head.category: head.size for head in heads} == dict.fromkeys(codes, 0) | {JOURNAL_CATEGORY: 1}
        for category in codes:
            if category != JOURNAL_CATEGORY:
                [receipt] = await world.record(1, tenant="castres", category=category)
                assert receipt.index == 0
        assert await told(world, "castres") == [
            ("tenant", "castres", {"change": "added", "name": "Ville de Castres"}),
        ]

    async def test_codes_and_names_that_cannot_be(self, world: World, administration: Administration) -> None:
        """A code that could not stand in an origin, a name that no record could hold: refused, and nothing made."""
        for code in ("", "Albi", "a_b", "_service", "-a", "a" * 64, "a b", "é", "a\n"):
            with pytest.raises(OperatorError, match="use lower-case letters, digits and hyphens"):
                await administration.add_tenant(code, "Somewhere")
        # The last of these play tricks on the terminal that lists them.
        for name in ("", "  ", "x" * 257, "a\0b", "\udcff", "a\x1b[2Jb", "a\u202eb"):
            with pytest.raises(OperatorError, match="--name"):
                await administration.add_tenant("castres", name)
        assert len(world.service.snapshot.tenants()) == 3

    async def test_a_code_is_never_used_again(self, world: World, administration: Administration) -> None:
        """Neither while its contract runs nor after it."""
        key = world.service.keyring.keystore.read_tenant_key(TENANT)
        for _ in range(2):
            with pytest.raises(OperatorError, match="codes are never reused"):
                await administration.add_tenant(TENANT, "Another")
            assert world.service.keyring.keystore.read_tenant_key(TENANT) == key
            await administration.close_tenant(TENANT)

    async def test_the_end_of_a_contract(self, world: World, administration: Administration) -> None:
        """Its credentials are revoked, each act is recorded, nothing more is accepted; the others go on."""
        mine, _ = await administration.credentials.add(role="client", tenant=TENANT, categories=[CATEGORY])
        other, _ = await administration.credentials.add(role="client", tenant=OTHER_TENANT, categories=[CATEGORY])
        await administration.close_tenant(TENANT)
        rows = {row.id: row for row in await world.service.store.list_credentials()}
        assert rows[mine].revoked_at is not None
        assert rows[other].revoked_at is None
        assert [(kind, data["change"]) for kind, _, data in await told(world)] == [
            ("tenant", "added"),
            ("credential", "added"),
            ("credential", "revoked"),
            ("tenant", "closed"),
        ]
        with pytest.raises(StoreError, match="commune has left"):
            await world.record(1)
        await world.record(1, tenant=OTHER_TENANT)
        # Said again, it changes nothing.
        await administration.close_tenant(TENANT)
        await administration.credentials.revoke(mine)
        assert await world.size(category=JOURNAL_CATEGORY) == 4

    async def test_an_end_that_cannot_be(self, administration: Administration) -> None:
        """An unknown commune, and the service's own reserved tenant, cannot be closed."""
        for code in ("castres", RESERVED_TENANT):
            with pytest.raises(OperatorError, match="there is no tenant"):
                await administration.close_tenant(code)


class TestCategories:
    """Legal classes of data, each with its rule."""

    async def test_a_new_category(self, world: World, administration: Administration) -> None:
        """Every open commune has a chain in it, ended ones have not; its rule is recorded in the service's own."""
        await administration.close_tenant(OTHER_TENANT)
        await administration.add_category(
            NewCategory(code="fourriere", label="Fourrière", regime="GDPR", retention_days=30, needs_authorisation=True)
        )
        await world.installation.maintenance.prepare()
        await world.record(1, category="fourriere")
        assert await world.service.store.read_heads([OTHER_TENANT, RESERVED_TENANT], ["fourriere"] * 2) == []
        rule = {"basis": DEFAULT_BASIS, "needs_authorisation": True, "regime": "GDPR", "retention_days": 30}
        rule["detail"] = f"journalisation fondée sur : {LEGAL_BASES['GDPR']}"
        assert await told(world, RESERVED_TENANT) == [("setting", "fourriere", {"change": "category added"} | rule)]
        await administration.add_tenant("castres", "Castres")
        await world.record(1, tenant="castres", category="fourriere")

    async def test_categories_that_cannot_be(self, world: World, administration: Administration) -> None:
        """No category is kept longer than the law allows, nor so shortly that no seal could show it; no code twice."""
        refused: list[tuple[dict[str, Any], str]] = [
            ({"code": "Fourrière"}, "use lower-case"),
            ({"code": "_journal"}, "use lower-case"),
            ({"code": CATEGORY}, "already a category"),
            ({"code": JOURNAL_CATEGORY}, "already a category"),
            ({"regime": "RGPD"}, "choose LED or GDPR"),
            ({"retention_days": 1}, "choose 2 to 60"),
            ({"retention_days": 61}, "choose 2 to 60"),
            ({"retention_days": -3}, "choose 2 to 60"),
            ({"label": "x" * 257}, "--label"),
            ({"label": "a\nb"}, "--label"),
        ]
        for members, reason in refused:
            values = {"code": "fourriere", "label": "Fourrière"} | members
            with pytest.raises(OperatorError, match=reason):
                await administration.add_category(NewCategory(**values))
        assert await world.size(RESERVED_TENANT, JOURNAL_CATEGORY) == 0


class TestCredentials:
    """Tokens: kept as a hash, recorded before they exist, revoked for good."""

    async def test_a_token(self, world: World, administration: Administration) -> None:
        """It carries its id and 256 random bits, of which the database and the journal know only the hash."""
        identifier, token = await administration.credentials.add(
            role="module", tenant=TENANT, categories=[CATEGORY, "ecrits"], source_prefix="/openepm/", label="PVe"
        )
        start, given_id, secret = token.split("_", 2)
        assert (start, given_id, len(secret)) == ("oej", identifier, 43)
        row = world.service.snapshot.credential(identifier)
        assert row is not None
        assert row.secret_hash == hashlib.sha256(secret.encode()).digest()
        assert (row.role, row.tenant, row.source_prefix, row.label) == ("module", TENANT, "/openepm/", "PVe")
        data = {"categories": ["ecrits", CATEGORY], "change": "added", "role": "module"}
        assert (await told(world))[-1] == ("credential", identifier, data)

    async def test_one_that_was_announced_and_not_made(
        self, world: World, administration: Administration, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The command was killed after the entry: the next one says so, once, and not while another may be at it."""
        asked = {"role": "client", "tenant": TENANT, "categories": [CATEGORY]}
        with monkeypatch.context() as patch:
            patch.setattr(world.service.store, "add_credential", killed)
            with pytest.raises(OSError, match="killed"):
                await administration.credentials.add(**asked)
        ghost = (await told(world))[-1][1]
        await administration.credentials.add(**asked)
        await world.travel(world.clock.now() + timedelta(minutes=2))
        for _ in range(2):
            await administration.credentials.add(**asked)
        said = [(subject, data) for kind, subject, data in await told(world) if kind == "credential"]
        assert [subject for subject, data in said if data["change"] == "not added"] == [ghost]
        assert len(said) == 5

    async def test_no_two_alike(self, administration: Administration) -> None:
        """Each one has its own id and secret."""
        made = [
            await administration.credentials.add(role="client", tenant=TENANT, categories=[CATEGORY]) for _ in range(20)
        ]
        assert len({identifier for identifier, _ in made}) == 20
        assert len({token.split("_", 2)[2] for _, token in made}) == 20

    async def test_an_expiry(self, world: World, administration: Administration) -> None:
        """It is kept, recorded, and cannot be over already."""
        at = START + 30 * DAY
        identifier, _ = await administration.credentials.add(
            role="auditor", tenant=TENANT, categories=[CATEGORY], expires_at=at
        )
        row = world.service.snapshot.credential(identifier)
        assert row is not None
        assert row.expires_at == at
        assert (await told(world))[-1][2]["expires_at"] == "2026-04-01T09:00:00.000000Z"
        with pytest.raises(OperatorError, match="in the past"):
            await administration.credentials.add(
                role="client", tenant=TENANT, categories=[CATEGORY], expires_at=START - timedelta(seconds=1)
            )

    async def test_one_that_takes_over(self, world: World, administration: Administration) -> None:
        """Both are valid until the old one ends; the journal names both, and a second rotation never ends it later."""
        identifier, _ = await administration.credentials.add(
            role="module", tenant=TENANT, categories=[CATEGORY], source_prefix="/openepm/", label="pve"
        )
        kept: list[str] = []
        successor, token, ends = await administration.credentials.rotate(
            identifier, overlap=2 * DAY, keep=lambda made: kept.append(str(made))
        )
        assert kept == [token]
        assert abs(ends - world.clock.now() - 2 * DAY) < timedelta(minutes=1)
        old, new = (world.service.snapshot.credential(each) for each in (identifier, successor))
        assert old is not None
        assert new is not None
        assert (old.expires_at, old.revoked_at, new.expires_at) == (ends, None, None)
        like = ("role", "tenant", "categories", "source_prefix", "label", "certificate_sha256")
        assert [getattr(old, name) for name in like] == [getattr(new, name) for name in like]
        about = {subject: data for kind, subject, data in (await told(world))[-2:] if kind == "credential"}
        assert {subject: data["change"] for subject, data in about.items()} == {
            identifier: "rotated",
            successor: "added",
        }
        assert about[identifier]["successor"] == successor
        assert (await administration.credentials.rotate(identifier, overlap=5 * DAY))[2] == ends
        await administration.credentials.revoke(identifier)
        for gone in (identifier, "0" * 12):
            with pytest.raises(OperatorError, match=f"no valid credential {gone}"):
                await administration.credentials.rotate(gone, overlap=DAY)

    async def test_what_no_credential_can_be(self, world: World, administration: Administration) -> None:
        """What makes no sense is refused before anything is recorded of it."""
        refused: list[tuple[dict[str, Any], str]] = [
            ({"role": "admin"}, "choose module, client, auditor or operator"),
            ({"tenant": "castres"}, "there is no tenant castres"),
            ({"categories": []}, "at least one --category"),
            ({"categories": [CATEGORY, "nothing"]}, "there is no category nothing: the categories are"),
            ({"role": "module"}, "needs --source-prefix"),
            ({"role": "module", "source_prefix": "/a", "categories": [JOURNAL_CATEGORY]}, "cannot be posted to"),
            ({"label": "x" * 257}, "--label"),
            ({"label": "a\x07b"}, "--label"),
            ({"role": "module", "source_prefix": "a\nb"}, "--source-prefix"),
        ]
        for members, reason in refused:
            values = {"role": "client", "tenant": TENANT, "categories": [CATEGORY]} | members
            with pytest.raises(OperatorError, match=reason):
                await administration.credentials.add(**values)
        assert await world.service.store.list_credentials() == []
        assert await world.size(category=JOURNAL_CATEGORY) == 1

    async def test_none_for_an_ended_contract(self, administration: Administration) -> None:
        """An ended contract gets no new credential."""
        await administration.close_tenant(TENANT)
        with pytest.raises(OperatorError, match="there is no tenant"):
            await administration.credentials.add(role="client", tenant=TENANT, categories=[CATEGORY])

    async def test_a_revocation(self, world: World, administration: Administration) -> None:
        """It is effective in another process at its next look, recorded once, and cannot be of what is not."""
        async with world.another_process() as other:
            for role in CREDENTIAL_ROLES:
                identifier, _ = await administration.credentials.add(
                    role=role, tenant=TENANT, categories=[CATEGORY], source_prefix="/a"
                )
                await administration.credentials.revoke(identifier)
                await other.service.snapshot.refresh()
                row = other.service.snapshot.credential(identifier)
                assert row is not None
                assert row.revoked_at is not None
                await other.administration.credentials.revoke(identifier)
                data = {"change": "revoked", "role": role}
                assert (await told(world)).count(("credential", identifier, data)) == 1
        with pytest.raises(OperatorError, match="there is no credential 123456789abc"):
            await administration.credentials.revoke("123456789abc")

    async def test_a_revocation_cut_short(self, world: World, administration: Administration) -> None:
        """One that was not recorded any more is recorded when it is asked again, also the next day."""
        identifier, _ = await administration.credentials.add(role="client", tenant=TENANT, categories=[CATEGORY])
        assert await world.service.store.revoke_credential(identifier)
        await world.travel(START + DAY)
        for _ in range(2):
            await administration.credentials.revoke(identifier)
        assert await told(world) == [("credential", identifier, {"change": "revoked", "role": "client"})]


async def test_everything_said_is_sealed_and_verifies(world: World, administration: Administration) -> None:
    """After all kinds of acts the store is as it should be."""
    await administration.add_tenant("castres", "Castres")
    await administration.add_category(NewCategory(code="fourriere", label="Fourrière"))
    identifier, _ = await administration.credentials.add(role="client", tenant="castres", categories=["fourriere"])
    await administration.credentials.revoke(identifier)
    await administration.close_tenant("castres")
    await world.record(1, events=[make_event(world.clock.now())])
    await world.seal()
    assert await world.audit() == []

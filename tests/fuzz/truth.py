"""What must be true of every extract that a verifier accepts, reckoned apart from it.

Written from FORMAT.md with the standard library alone (zipfile, json, hashlib): it proves no signature and reads no
DER, it only says whether an accepted extract can be what was signed, and whether it says the truth about a chain
that we know whole.
"""

from __future__ import annotations

import json
import zipfile
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.extracts import World

DIGESTS = "META-INF/ASiCManifest.xml"
MEMBERS = [
    "mimetype",
    "entries.ndjson",
    "proof.ndjson",
    "seals.json",
    "manifest.json",
    "extrait.csv",
    "extrait.pdf",
    "LISEZMOI.txt",
    DIGESTS,
    "META-INF/signature.p7s",
]


class UntruthError(AssertionError):
    """An extract was accepted that says what is not so."""


@dataclass
class Truth:
    """All that was ever signed, and the chains as they were."""

    signed: set[bytes] = field(default_factory=set)
    sealed: set[str] = field(default_factory=set)
    worlds: list[tuple[World, dict[str, dict[str, Any]]]] = field(default_factory=list)

    def learn(self, world: World) -> None:
        """Take a chain for true, with all its seals and what each says of it."""
        heads = {listed.text.decode(): listed.head.as_json() for listed in world.seals}
        self.worlds.append((world, heads))
        self.sealed |= heads.keys()

    def check(self, whole: bytes) -> None:
        """Check an extract that was accepted; UntruthError for what should have been refused."""
        with zipfile.ZipFile(BytesIO(whole)) as archive:
            names = archive.namelist()
            if names != [name for name in MEMBERS if name in names]:
                raise UntruthError(f"members {names}")
            members = {name: archive.read(name) for name in names}
        manifest = json.loads(members["manifest.json"])
        records = members["entries.ndjson"].splitlines()
        proof = [json.loads(line) for line in members["proof.ndjson"].splitlines()]
        seals = json.loads(members["seals.json"])["seals"]
        self._check_signed(members, seals)
        _check_chain(manifest, records, proof, seals)
        _check_disclosed(manifest, records, members["extrait.csv"])
        honest = set().union(*(heads for _, heads in self.worlds))
        if all(seal["text"] in honest for seal in seals):
            self._check_honest(manifest, records, seals)

    def _check_signed(self, members: dict[str, bytes], seals: Sequence[Any]) -> None:
        if members[DIGESTS] not in self.signed:
            raise UntruthError("these digests were never signed")
        for name, content in members.items():
            digest = b64encode(sha256(content).digest())
            if not name.startswith(("META-INF", "mimetype")) and digest not in members[DIGESTS]:
                raise UntruthError(f"{name} is not what was signed")
        if not all(seal["text"] in self.sealed for seal in seals):
            raise UntruthError("this seal was never signed")

    def _check_honest(self, manifest: dict[str, Any], records: Sequence[bytes], seals: Sequence[Any]) -> None:
        """Where every seal is one of a true chain, the extract says that chain's truth, and all of it."""
        told = [
            world
            for world, heads in self.worlds
            if world.origin == manifest["origin"] and all(heads.get(seal["text"]) == seal["head"] for seal in seals)
        ]
        if not told:
            raise UntruthError("these seals, with these heads, are of no one chain")
        for world in told:
            for record in records:
                if world.records[json.loads(record)["index"]] != record:
                    raise UntruthError("this entry never was")
        if not any(_is_complete(world, manifest, seals) for world in told):
            raise UntruthError("entries of these days are missing, or there are some of other days")


def _check_chain(
    manifest: dict[str, Any], records: Sequence[bytes], proof: Sequence[Any], seals: Sequence[Any]
) -> None:
    base, head = manifest["base"], manifest["head"]
    if [line["index"] for line in proof] != list(range(base["size"], head["size"])):
        raise UntruthError("not every index once")
    disclosed = [line for line in proof if "salt" in line]
    if len(disclosed) != len(records) or manifest["disclosed"] != len(records):
        raise UntruthError("as many records as disclosed lines, and as counted")
    if manifest["withheld"] != len(proof) - len(records) or (not manifest["filter"] and manifest["withheld"]):
        raise UntruthError("as many withheld as counted, and none without a filter")
    remaining = iter(records)
    chain_hash = bytes.fromhex(base["chain_hash"])
    hashes = {base["size"]: chain_hash}
    for line in proof:
        if "salt" in line:
            record = next(remaining)
            if json.loads(record)["index"] != line["index"]:
                raise UntruthError("a record says another index")
            leaf = sha256(b"\0" + bytes.fromhex(line["salt"]) + record).digest()
        else:
            leaf = bytes.fromhex(line["leaf"])
        chain_hash = sha256(b"\1" + chain_hash + leaf).digest()
        hashes[line["index"] + 1] = chain_hash
    if chain_hash.hex() != head["chain_hash"]:
        raise UntruthError("the chain does not lead from base to head")
    for seal in seals:
        size = seal["head"]["size"]
        if size in hashes and hashes[size].hex() != seal["head"]["chain_hash"]:
            raise UntruthError("the chain does not run through a seal")


def _check_disclosed(manifest: dict[str, Any], records: Sequence[bytes], table: bytes) -> None:
    """Each entry is one that the filter asks for, and has its line of the table."""
    asked = manifest["filter"]
    lines = table.split(b"\r\n")[1:]
    if len(lines) != len(records) + 1 or lines[-1]:
        raise UntruthError("the table has another number of lines")
    for record, line in zip(records, lines, strict=False):
        entry = json.loads(record)
        event, data = entry["event"], entry["event"].get("data")
        actor = data.get("actor") if isinstance(data, dict) else None
        found = {
            "account": actor.get("account") if isinstance(actor, dict) else None,
            "subject": event.get("subject"),
            "action": event["type"].removeprefix("fr.openepm.journal."),
            "withhold": None,
        }
        if any(found[name] != value for name, value in asked.items()):
            raise UntruthError("an entry is disclosed that was not asked for")
        index, _, *times = line.decode().split('";"')[:4]
        if [index, *times] != [f'"{entry["index"]}', event["time"], entry["recorded_at"]]:
            raise UntruthError("a line of the table is another entry's")


def _is_complete(world: World, manifest: dict[str, Any], seals: Sequence[Any]) -> bool:
    """Tell whether the extract goes over exactly the entries of its days that were kept and sealed."""
    first, last = (date.fromisoformat(manifest[name]) for name in ("from", "to"))
    opened = seals[-1]["head"]
    days = [date.fromisoformat(json.loads(record)["recorded_at"][:10]) for record in world.records[: opened["size"]]]
    asked = [index for index, day in enumerate(days) if first <= day <= last and index >= opened["kept_from"]]
    told = list(range(manifest["base"]["size"], manifest["head"]["size"]))
    return told == asked

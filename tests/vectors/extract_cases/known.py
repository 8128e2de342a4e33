"""What an auditor kept from earlier: it agrees, contradicts, cannot be compared, or is nothing to compare with."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from journal.core.entry import Compartment
from journal.core.seal import parse_seal
from journal.extract.listing import encode_head_answer
from tests.support import authority
from tests.support.authority import issue, new_key
from tests.support.extracts import march, noon
from tests.vectors.extract_cases.case import CHAIN, OTHER_ROOT, Case, Small, facts, refused, signed, verified

if TYPE_CHECKING:
    from collections.abc import Iterator

    from journal.extract.listing import ListedSeal
    from tests.support.extracts import Extract

FORK, KEPT = "fork", "kept.json"


def cases() -> Iterator[Case]:
    """Yield them."""
    yield from _agreeing()
    yield from _not_comparable()
    yield from _contradicting()
    yield from _unusable()


def kept(seal: ListedSeal) -> dict[str, bytes]:
    """Return what `GET …/head` answered, as an auditor keeps it."""
    return {KEPT: encode_head_answer(seal)}


def of(world: Small) -> Extract:
    """Return the extract of 3 March, made on the 5th."""
    return world.extract(march(3), march(3), at=noon(march(5)))


def fetching(hour: int = 13, *, subject: str = "main-courante/4") -> tuple[Small, ListedSeal]:
    """Return a chain that lived four days, and a seal an auditor fetched at noon of the third."""
    world = Small().live(1, 2)
    world.append(noon(march(3)), subject=subject)
    fetched = world.seal(noon(march(3), hour=hour))
    world.append(noon(march(3), hour=14))
    world.seal(noon(march(3), hour=15))
    world.close(march(3))
    return world.live(4, 4), fetched


def _agreeing() -> Iterator[Case]:
    world, fetched = fetching()
    extract = signed(of(world))
    about = "A seal that was kept has a head in the middle of the extract, and the chain runs through it."
    yield verified("known-agrees", about, extract, facts(2), known=kept(fetched))
    answer = json.dumps(json.loads(encode_head_answer(fetched)), indent=4, sort_keys=False).encode()
    about = "The same answer, indented by an editor: it is read in any spelling of JSON."
    yield verified("known-respelt", about, extract, facts(2), known={KEPT: answer})
    about = "A close seal that the extract lists was kept too."
    yield verified("known-of-the-extract-itself", about, extract, facts(2), known=kept(world.closes[march(3)]))
    world = Small().live(1, 3)
    older = signed(world.extract(march(1), march(3), at=noon(march(4), hour=10)))
    about = "An older extract was kept: each of its seals is a known one."
    yield verified("known-older-extract", about, of(world.live(4, 4)), facts(2), known={"older.asice": older})


def _not_comparable() -> Iterator[Case]:
    world, _ = fetching()
    extract = signed(of(world))
    world.append(noon(march(5), hour=15))
    newer = world.seal(noon(march(5), hour=16))
    about = "The seal that was kept is beyond the extract: nothing contradicts it, nothing confirms it."
    yield verified("known-is-newer", about, extract, facts(2, unanswered=1), known=kept(newer))
    later = world.extract(march(4), march(4), at=noon(march(5), hour=17))
    about = "The seal that was kept is of before the extract's first entry."
    yield verified("known-is-older", about, later, facts(2, unanswered=1), known=kept(world.seals[0]))
    world, lost = _disaster(recovered_from=2)
    about = "The extract's seals declare a disaster in which the seal that was kept was lost."
    extract = world.extract(march(2), march(3), at=noon(march(4)))
    yield verified("known-declared-lost", about, extract, facts(3, unanswered=1), known=kept(lost))

    world, lost = _disaster_today()
    extract = signed(world.extract(march(2), march(3), at=noon(march(3), hour=17)))
    about = "The extract's open seal declares the disaster of its day, in which the seal that was kept was lost."
    found = facts(3, covered_until=noon(march(3), hour=17), unanswered=1)
    yield verified("known-declared-lost-today", about, extract, found, known=kept(lost))
    about = "The seal that was kept was made after the disaster, which it declares as the extract's seal does."
    found = facts(3, covered_until=noon(march(3), hour=17))
    yield verified("known-declares-the-same-loss", about, extract, found, known=kept(world.seals[3]))

    world = Small().live(1, 2)
    world.append(noon(march(3), hour=15))
    world.close(march(3), recovered_from=2)
    twin = world.seal(parse_seal(world.closes[march(3)].text).sealed_at)
    about = "The seal that was kept is of the second in which a close seal declares a disaster, and follows it."
    extract = world.extract(march(2), march(3), at=noon(march(4)))
    yield verified("known-in-the-second-of-the-declaring", about, extract, facts(3), known=kept(twin))


def _disaster_today() -> tuple[Small, ListedSeal]:
    world, lost = Small().live(1, 2), _disaster()[1]
    world.seal(noon(march(3), hour=14), recovered_from=2)
    world.append(noon(march(3), hour=15), subject="after the disaster")
    world.seal(noon(march(3), hour=16))
    return world, lost


def _disaster(**changes: Any) -> tuple[Small, ListedSeal]:
    world = Small().live(1, 2)
    world.append(noon(march(3)))
    lost = world.seal(noon(march(3), hour=13))
    recovered = Small().live(1, 2)
    recovered.append(noon(march(3), hour=15), subject="after the disaster")
    recovered.close(march(3), **changes)
    return recovered, lost


def _contradicting() -> Iterator[Case]:
    _, fetched = fetching()
    rewritten, _ = fetching(subject="rewritten")
    about = "Everything was written again, seals included; the seal that was kept says so."
    yield _fork("history-rewritten", about, of(rewritten), fetched)
    world, lost = _disaster()
    extract = world.extract(march(2), march(3), at=noon(march(4)))
    yield _fork("loss-undeclared", "A seal that was kept was lost in a disaster that nobody declared.", extract, lost)
    world = Small().live(1, 2)
    world.append(noon(march(3)))
    world.close(march(3))
    _, noonish = fetching(hour=12)
    about = "The seal that was kept has the number of another in the extract."
    yield _fork("number-given-twice", about, world.live(4, 4).extract(march(3), march(4), at=noon(march(5))), noonish)
    world = Small().live(1, 2)
    for minute in range(3):
        world.append(noon(march(3), minutes=minute))
    longer = world.seal(noon(march(3), hour=13))
    cut = Small().live(1, 2)
    cut.append(noon(march(3)))
    cut.seal(noon(march(3), hour=12))
    cut.seal(noon(march(3), hour=13))
    cut.close(march(3))
    extract = cut.extract(march(3), march(3), at=noon(march(4)))
    yield _fork("tail-cut-off", "The seal that was kept is earlier and has more entries.", extract, longer)
    world = Small(retention_days=3).live(1, 3)
    world.purge(march(1))
    purged = world.seal(noon(march(4)))
    world.kept_from = 0
    about = "The seal that was kept says that entries are purged, and the extract's that they are kept."
    extract = world.extract(march(4), march(4), at=noon(march(4), hour=13))
    yield _fork("purge-taken-back-from-a-known-seal", about, extract, purged)
    world = Small().live(1, 2)
    fetched = world.seal(noon(march(3), hour=13))
    world.live(3, 4, entries=0)
    text = parse_seal(fetched.text)
    moved = replace(text, sealed_at=text.sealed_at + timedelta(seconds=1))
    signature = authority.sign(moved.text, chain=CHAIN, at=moved.sealed_at)
    about = "The extract's next seal does not name the seal that was kept."
    yield _fork("known-not-named-by-the-next", about, of(world), replace(fetched, text=moved.text, signature=signature))


def _fork(name: str, about: str, extract: Extract, seal: ListedSeal) -> Case:
    return refused(name, about, extract, FORK, KEPT, known=kept(seal))


def _unusable() -> Iterator[Case]:
    world, fetched = fetching()
    extract = signed(of(world))
    other = Small(compartment=Compartment(authority.SERVICE, "bagnolet", "main-courante")).live(1, 1)
    stranger = issue("Seals and extracts", new_key(9), issuer=OTHER_ROOT)
    forged = authority.sign(fetched.text, chain=(stranger,), at=parse_seal(fetched.text).sealed_at)
    answer = encode_head_answer(fetched)
    for name, about, verdict, content in (
        ("of-another-chain", "is of another chain", "mismatched part", encode_head_answer(other.seals[0])),
        (
            "of-another-signature",
            "bears the signature of another",
            "bad signature",
            encode_head_answer(replace(fetched, signature=world.seals[0].signature)),
        ),
        (
            "of-another-authority",
            "is signed under an authority nobody trusts",
            "untrusted",
            encode_head_answer(replace(fetched, signature=forged)),
        ),
        (
            "of-another-head",
            "has a head that is not under its root",
            "broken chain",
            encode_head_answer(replace(fetched, head=replace(fetched.head, retention_days=59))),
        ),
        ("no-answer", "is an answer to something else", "malformed", b'{"seals":[]}'),
        ("no-file", "is an empty file", "malformed", b""),
        ("member-twice", "has a member twice", "malformed", answer[:-1] + b',"origin":"x"}'),
        ("no-extract", "begins like an extract, and is none", "malformed", b"PK\3\4"),
    ):
        yield refused(f"known-{name}", f"What was kept {about}.", extract, verdict, KEPT, known={KEPT: content})

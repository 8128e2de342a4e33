"""What is mutated, and which test files judge it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

ROOT: Final = Path(__file__).parents[2]

# Part of the report: modules, from the project's root.
SCOPE: Final = {
    "chain": (
        "journal/core/canonical.py",
        "journal/core/chain.py",
        "journal/core/envelope.py",
        "journal/core/extending.py",
        "journal/core/receipt.py",
        "journal/core/seal.py",
        "journal/core/tree.py",
    ),
    "purge policy": (
        "journal/core/times.py",
        "retention/policy.py",
        "retention/purge_plan.py",
        "retention/purge_steps.py",
    ),
    "authorisation": (
        "ingest/access.py",
        "journal/extract/grounds.py",
        "journal/reading/entitlement.py",
        "journal/reading/plan.py",
    ),
    "verifier": (
        "journal/extract/listed_seal.py",
        "journal/extract/listing.py",
        "journal/extract/manifest.py",
        "journal/extract/purges.py",
        "journal/extract/slices.py",
        "journal/extract/sweep.py",
        "journal/extract/verify.py",
        "journal/extract/walk.py",
        "journal/pki/cms.py",
        "journal/pki/der.py",
    ),
}

# Of this module, the checks alone: the rest of it goes through a database, and is the integration tests'.
CHECKS: Final = {
    "journal/reading/plan.py": (
        "ExtractRequest.__post_init__",
        "_check_days",
        "_check_words",
        "_is_recordable",
        "_said",
    )
}

# The unit tests that judge each part. Those that start programs, or that take every byte of an extract, judge nothing
# here: without them a mutant can only survive more easily.
JUDGES: Final = {
    "chain": ("canonical", "chain", "entry", "envelope", "extending", "receipts", "seal", "seal_certificates", "tree"),
    "purge policy": ("purge_policy", "times"),
    "authorisation": ("access", "extract_request", "grounds", "manifest"),
    "verifier": (
        "certificates",
        "cms",
        "container",
        "der",
        "extract",
        "history",
        "identities",
        "known",
        "listed_seal",
        "listing",
        "manifest",
        "receipts",
        "rewritten",
        "seal_certificates",
        "slices",
        "sources",
        "table",
        "timestamp",
        "vectors",
        "verify",
        "verify_timestamps",
    ),
}
# Tests on a real database, of what asks one: they judge, too. All processes share one server.
INTEGRATED: Final = {"purge policy": ("purge_plan",)}
# It makes every vector anew, in a process of its own.
NOT_JUDGES: Final = ("tests/unit/test_vectors.py::test_what_makes_the_vectors_still_makes_them",)


def modules(parts: Collection[str]) -> list[str]:
    """Return the modules of these parts of the report."""
    return [module for part, found in SCOPE.items() if part in parts for module in found]


def part_of(module: str) -> str:
    """Return the part of the report that a module is in."""
    return next(part for part, found in SCOPE.items() if module in found)


def judges(parts: Collection[str]) -> list[Path]:
    """Return the test files that judge these parts."""
    return sorted(
        {
            ROOT / f"tests/{kind}/test_{name}.py"
            for part in parts
            for kind, named in (("unit", JUDGES), ("integration", INTEGRATED))
            for name in named.get(part, ())
        }
    )

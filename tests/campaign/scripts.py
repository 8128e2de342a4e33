"""The table of kinds, with every module's acts in it."""

from __future__ import annotations

from tests.campaign import controls, entries, facts, machine
from tests.campaign.table import KINDS

__all__ = ["KINDS", "controls", "entries", "facts", "machine"]

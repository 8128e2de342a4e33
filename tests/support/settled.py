"""The whole product, loaded and kept out of every later collection: a process forked from here copies no page of it."""

from __future__ import annotations

import gc

from tests.support.loaded import load_commands

load_commands()
gc.collect()
gc.freeze()

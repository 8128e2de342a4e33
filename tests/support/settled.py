"""What is loaded when this is, kept out of every later collection: a process forked from here copies no page of it."""

from __future__ import annotations

import gc

gc.collect()
gc.freeze()

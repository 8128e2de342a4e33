"""Seals: made, signed, time-stamped."""

"""The tampering campaign: every kind of tests/tamper/KINDS.md, each on its own clone of a world of 62 days."""

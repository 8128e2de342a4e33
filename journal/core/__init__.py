"""The pure core: bytes, chains, keys, seals, signatures. No input or output, no clock, no randomness."""

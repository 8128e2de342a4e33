"""The signer: sole holder of the signing key, a process of its own that compares before it signs."""

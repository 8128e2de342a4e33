"""Reading: seals, extracts, the register of requests."""

"""What an extract is, byte by byte, and what verifies it: as pure as the core."""

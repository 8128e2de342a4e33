"""The format of an extract, byte by byte, and its verification: as pure as the core."""

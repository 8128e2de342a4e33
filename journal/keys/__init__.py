"""The key store: files, wrapped keys, keys in memory, its copy."""

"""Certificates, signatures and time-stamps, read strictly (pure, like the core)."""

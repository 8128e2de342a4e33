"""The HTTP edge: what modules, clients and auditors talk to."""

"""The documents there are: which template lays each out, and why it is signed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template of this package by the name of its file, and the reason that the signature gives."""

    name: str
    reason: str


EXTRACT = Template(name="extrait", reason="Extrait du journal des accès")
CERTIFICATE = Template(name="attestation", reason="Attestation de destruction")

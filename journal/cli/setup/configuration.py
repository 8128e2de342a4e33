"""`journal.toml` and the units' paths, as `setup` writes them; what is there is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from journal.cli.setup.host import MASTER_KEY, SERVICE, SETTINGS, SIGNER_STATE, STATE, UNITS, replace_text
from journal.core.errors import OperatorError
from journal.settings import CONFIG_VARIABLE, Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HEAD: Final = """\
# Settings of the access journal, made by: openepm-journal setup. Every setting, with its meaning, is in
# /opt/openepm-journal/deploy/journal.toml.example; after a change: systemctl restart openepm-journal
"""
# The units that write to the key store.
WRITERS: Final = (SERVICE, f"{SERVICE}-purge", f"{SERVICE}-keys")


def read_settings() -> Settings | None:
    """Return the settings that are there, None if there is no file. Raises OperatorError."""
    return load_settings({CONFIG_VARIABLE: str(SETTINGS)}) if SETTINGS.exists() else None


def write_settings(*, service_name: str, dsn: str, replicas: Sequence[str]) -> Settings:
    """Write the settings of a new journal; return them as the service will read them. Raises OperatorError."""
    values: dict[str, str | list[str]] = {
        "home": str(STATE),
        "service_name": service_name,
        "dsn": dsn,
        "master_key_file": str(MASTER_KEY),
        "keystore_replicas": list(replicas),
        "signing_key": str(SIGNER_STATE / "signing.key"),
        "signing_cert": str(SIGNER_STATE / "signing.pem"),
        "signer_state": str(SIGNER_STATE / "signer.state"),
        "trust": str(SIGNER_STATE / "trust.pem"),
        "trusted_proxies": ["127.0.0.1"],
    }
    # A string or array of JSON is one of TOML.
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items() if value]
    replace_text(SETTINGS, HEAD + "".join(lines))
    return load_settings({CONFIG_VARIABLE: str(SETTINGS)})


def check_same(settings: Settings, asked: dict[str, object]) -> None:
    """Refuse options that the settings contradict: `setup` never changes a file that is there. Raises OperatorError."""
    for name, value in asked.items():
        if value and value != (present := getattr(settings, name)):
            raise OperatorError(f"{SETTINGS} has {name} = {present!r}, not {value!r}: change it there, or leave it out")


def write_unit_paths(settings: Settings) -> None:
    """Let the units write to the directories of the settings outside the state directory: replicas, hand-overs."""
    chosen = [*settings.keystore_replicas, settings.keystore, settings.handover_directory]
    outside = [path for path in chosen if path and not Path(path).is_relative_to(STATE)]
    for unit in WRITERS:
        if (UNITS / f"{unit}.service").exists():
            _write_drop_in(unit, outside)


def _write_drop_in(unit: str, paths: Iterable[str]) -> None:
    path = Path(f"/etc/systemd/system/{unit}.service.d/10-setup.conf")
    named = "".join(f"ReadWritePaths={one}\n" for one in paths)
    if named:
        replace_text(path, f"# Made by openepm-journal setup: the directories of {SETTINGS}.\n[Service]\n{named}")
    else:
        path.unlink(missing_ok=True)

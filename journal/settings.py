"""Settings: one TOML file or `JOURNAL_*` variables; an unknown name is refused."""

from __future__ import annotations

import difflib
import ipaddress
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import parse_qs

import msgspec

from journal.core.entry import is_service
from journal.core.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "JOURNAL_"
CONFIG_VARIABLE = "JOURNAL_CONFIG"
DSN_VARIABLE = "JOURNAL_DSN"
# JOURNAL_STREAM is set by systemd for its own journal.
NO_SETTINGS = frozenset({CONFIG_VARIABLE, "JOURNAL_STREAM"})
# How a variable separates the values of a list.
LISTS = {"keystore_replicas": ":", "trusted_proxies": ",", "notify_mail_to": ","}
# What a DSN of several servers must ask for.
WRITES = frozenset({"read-write", "primary"})
DEFAULT_SERVICE_NAME = "journal.localhost"
SIGNER_SOCKET = Path("/run/openepm-journal-signer/socket")
NO_SIGNER_SOCKET = "none"

# How long after an access its event may be recorded.
LATENESS_DAYS = 7

Positive = Annotated[int, msgspec.Meta(ge=1)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything the operator may configure; by default everything is stored under `home`.

    Without `dsn` the embedded PostgreSQL is used. Each database role connects with that DSN and its own name.
    `service_name` (default: journal.localhost) is fixed by the first start, which writes it into the database and every
    origin; later starts refuse another name. `trusted_proxies` are addresses and networks of reverse proxies: their
    word is taken for a caller's address and client certificate, nobody else's. `operator` is who runs the commands.
    `console` serves the pages of the communes, with `console_host` under this name alone. `notify_contact` is whom a
    commune is to call, and where it writes, as its mails and the console say.
    """

    home: str = "var"
    listen: str = "127.0.0.1:8470"
    trusted_proxies: tuple[str, ...] = ()
    service_name: str | None = None
    dsn: str | None = None
    keystore: str | None = None
    keystore_replicas: tuple[str, ...] = ()
    master_key_file: str | None = None
    signing_key: str | None = None
    signing_cert: str | None = None
    signer_state: str | None = None
    signer_socket: str | None = None
    trust: str | None = None
    handover_directory: str | None = None
    tsa_url: str | None = None
    tsa_trust: str | None = None
    tsa_timeout_seconds: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    rule_delay_days: Annotated[int, msgspec.Meta(ge=0, le=60)] = 7
    lateness_days: Annotated[int, msgspec.Meta(ge=1, le=60)] = LATENESS_DAYS
    seal_interval_seconds: Positive = 60
    queue_events: Positive = 50_000
    queue_bytes: Positive = 64 * 1024 * 1024
    workers: Positive = 1
    operator: str | None = None
    console: bool = True
    console_host: str | None = None
    audit_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.05
    notify_mail_to: tuple[str, ...] = ()
    notify_mail_from: str | None = None
    notify_smtp: str = "localhost:25"
    notify_smtp_tls: Literal["none", "starttls", "tls"] = "none"
    notify_smtp_user: str | None = None
    notify_smtp_password_file: str | None = None
    notify_webhook: str | None = None
    notify_webhook_secret_file: str | None = None
    notify_contact: str | None = None

    @property
    def home_path(self) -> Path:
        """Return the directory of everything that has no setting of its own."""
        return Path(self.home).absolute()

    @property
    def keystore_path(self) -> Path:
        """Return the key store's directory."""
        return Path(self.keystore) if self.keystore else self.home_path / "keys"

    @property
    def master_key_path(self) -> Path:
        """Return the master key's file; kept apart from the key store it wraps."""
        return Path(self.master_key_file) if self.master_key_file else self.home_path / "master.key"

    @property
    def signing_key_path(self) -> Path:
        """Return the signing key's file (PEM)."""
        return Path(self.signing_key) if self.signing_key else self.home_path / "identity" / "signing.key"

    @property
    def signing_cert_path(self) -> Path:
        """Return the signer's certificate chain (PEM, signer first, no root)."""
        return Path(self.signing_cert) if self.signing_cert else self.home_path / "identity" / "signing.pem"

    @property
    def signer_state_path(self) -> Path:
        """Return the file in which the signer remembers what it has signed; by default beside the signing key."""
        return Path(self.signer_state) if self.signer_state else self.signing_key_path.with_name("signer.state")

    @property
    def signer_socket_path(self) -> Path | None:
        """Return the socket of the signer; None if each process starts a signer of its own.

        By default the installed one's, unless the database is embedded.
        """
        if self.signer_socket is None:
            return SIGNER_SOCKET if self.dsn is not None else None
        return None if self.signer_socket == NO_SIGNER_SOCKET else Path(self.signer_socket)

    @property
    def receipt_key_path(self) -> Path:
        """Return the file of the receipt key and its delegation; the service makes it and replaces it."""
        return self.home_path / "receipt.key"

    @property
    def audit_path(self) -> Path:
        """Return the file in which the audit inside the service notes what it has checked."""
        return self.home_path / "audit.json"

    @property
    def trust_path(self) -> Path:
        """Return the file of the trust anchor for auditors (PEM)."""
        return Path(self.trust) if self.trust else self.home_path / "trust.pem"

    @property
    def handover_path(self) -> Path:
        """Return the directory of the hand-overs, with a subdirectory for each commune."""
        return Path(self.handover_directory) if self.handover_directory else self.home_path / "handover"

    @property
    def tsa_trust_path(self) -> Path | None:
        """Return the file of the trust anchors for time-stamps (PEM), if one is set."""
        return Path(self.tsa_trust) if self.tsa_trust else None

    @property
    def address(self) -> tuple[str, int]:
        """Return (host, port) of `listen`; OperatorError if it is not `host:port`."""
        host, _, port = self.listen.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004 - the largest TCP port
            raise OperatorError(f"listen is {self.listen!r}: write it host:port, for example 127.0.0.1:8470")
        return host.strip("[]"), int(port)


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the TOML file named by JOURNAL_CONFIG, then the variables, which take precedence.

    Raises OperatorError, which names the setting, if it is unknown or of the wrong type.
    """
    known = Settings.__struct_fields__
    values: dict[str, object] = {}
    if path := environ.get(CONFIG_VARIABLE):
        values |= _read_toml(Path(path))
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and variable not in NO_SETTINGS:
            values[variable.removeprefix(PREFIX).lower()] = environ[variable]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = (
                f"; did you mean {near[0]} ({PREFIX}{near[0].upper()})?"
                if near
                else f"; the settings are {', '.join(known)}"
            )
            raise OperatorError(f"setting {key} (or {PREFIX}{key.upper()}) does not exist{hint}")
    for name, separator in LISTS.items():
        if isinstance(text := values.get(name), str):
            values[name] = tuple(part.strip() for part in text.split(separator) if part.strip())
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        # msgspec writes: Expected `int` >= 1 - at `$.workers`.
        what, _, where = str(error).partition(" - at `$.")
        key = where.rstrip("`")
        raise OperatorError(f"setting {key} ({PREFIX}{key.upper()}): {what[:1].lower()}{what[1:]}") from error
    _check_service_name(settings.service_name)
    _check_proxies(settings.trusted_proxies)
    if settings.dsn is not None:
        _check_dsn(settings.dsn)
    return settings


def _check_service_name(name: str | None) -> None:
    if name is not None and not is_service(name):
        raise OperatorError(
            f"setting service_name ({PREFIX}SERVICE_NAME) is {name!r}: it must be a lower-case DNS name, for example "
            "journal.example.fr"
        )


def _check_proxies(proxies: tuple[str, ...]) -> None:
    for proxy in proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError as error:
            raise OperatorError(
                f"setting trusted_proxies ({PREFIX}TRUSTED_PROXIES): {proxy!r} is neither an address nor a network; "
                "write for example 127.0.0.1, 10.1.2.0/24 or fd00::/64"
            ) from error


def _check_dsn(dsn: str) -> None:
    """Refuse an address that the driver could not parse: its errors quote what may be a password."""
    scheme, separator, rest = dsn.partition("://")
    place, _, query = rest.partition("?")
    hosts = re.split("[/#]", place, maxsplit=1)[0].rpartition("@")[2].split(",")
    ports = [host.rpartition("]")[2].partition(":")[2] for host in hosts]
    is_address = scheme in {"postgres", "postgresql"} and all(port.isdigit() for port in ports if port)
    try:
        parse_qs(query, strict_parsing=bool(query))
    except ValueError:
        is_address = False
    if not (separator and is_address):
        raise OperatorError(
            f"setting dsn ({DSN_VARIABLE}) is no address: write it postgresql://USER@HOST/DATABASE; in a password, "
            "percent-encode / ? # @ : and %"
        )
    if len(hosts) > 1 and parse_qs(query).get("target_session_attrs", [""])[-1] not in WRITES:
        raise OperatorError(
            f"setting dsn ({DSN_VARIABLE}) names several servers: add target_session_attrs=read-write to it, so that "
            "the one that takes writes is used"
        )


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OperatorError(f"settings file {path}: {error}") from error

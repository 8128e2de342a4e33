"""What `doctor` looks at without the database: files, keys, certificate, disks, the service and its port."""

from __future__ import annotations

import http.client
import os
import subprocess
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from journal.cli.finding import failure, note, ok, warning
from journal.core.errors import KeyStoreError, VerificationError
from journal.core.times import format_seconds
from journal.keys.files import MAKE_WRITABLE, why_unwritable
from journal.keys.store import open_keystore
from journal.notices.host import CERTIFICATE_DAYS, COPY_LATE_SECONDS, LEAST_FREE, copied_at, places
from journal.notices.progress import progress_of
from journal.pki.certificates import parse, pem_to_der
from journal.pki.trust import check_expected, check_path
from journal.seals.receipt_key import load as load_receipt_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from journal.cli.finding import Finding
    from journal.settings import Settings

SERVER: Final = "openepm-journal"
UNIT: Final = "openepm-journal"
ANSWER_SECONDS: Final = 5.0
FULL_BYTES: Final = 64 * 1024 * 1024
SYSTEMD: Final = Path("/run/systemd/system")


def check_certificate(settings: Settings, now: datetime) -> Iterator[Finding]:
    """Look at the signing certificate: its days, and that the trust anchors vouch for it."""
    path, trust = settings.signing_cert_path, settings.trust_path
    mend = "install one with openepm-journal identity request, then identity install"
    try:
        chain = [parse(one) for one in pem_to_der(path.read_bytes())]
        anchors = [parse(one) for one in pem_to_der(trust.read_bytes())]
    except OSError as error:
        yield failure("identity", f"{error.filename} cannot be read: {error.strerror}", mend)
        return
    except VerificationError as error:
        yield failure("identity", f"{path} or {trust} is no certificate: {error}", mend)
        return
    begins, ends = max(one.not_before for one in chain), min(one.not_after for one in chain)
    try:
        check_expected(chain[0], anchors)
        check_path(chain, anchors, at=min(max(now, begins), ends))
    except VerificationError as error:
        put = f"put the root of its authority there: openepm-journal identity install --trust; {mend}"
        yield failure("identity", f"{trust} does not vouch for {path}: {error}", put)
        return
    days = (ends - now).days
    if now > ends:
        yield failure("identity", f"{path} expired on {format_seconds(ends)}: nothing is sealed or extracted", mend)
    elif now < begins:
        told = f"{path} is valid only from {format_seconds(begins)}, and this machine says {format_seconds(now)}"
        yield failure("identity", told, "correct the clock: timedatectl")
    elif days < CERTIFICATE_DAYS:
        yield warning("identity", f"{path} expires in {days} days, on {format_seconds(ends)}", mend)
    else:
        yield ok("identity", f"{path} is valid for {days} more days, and {trust} vouches for it")


def check_receipt_key(settings: Settings, now: datetime) -> Iterator[Finding]:
    """Look at the receipt key: whether the service signs receipts."""
    found = load_receipt_key(settings.receipt_key_path)
    if found is None:
        yield note("receipt key", f"there is no {settings.receipt_key_path} yet: the service makes it at its start")
        return
    until = found.delegation.valid_until
    if until < now:
        told = f"it ended on {format_seconds(until)}: receipts are not signed"
        yield warning("receipt key", told, f"a new one is made once the signer answers: journalctl -u {UNIT}")
    else:
        yield ok("receipt key", f"signs receipts until {format_seconds(until)}, and is renewed before")


def check_mails(settings: Settings) -> Iterator[Finding]:
    """Look at whether the persons of communes are told what they chose to be told."""
    if settings.notify_mail_from is None:
        yield note("mails", "no commune is told anything by mail: notify_mail_from is not set")
        return
    waiting = progress_of(settings).waiting(time.time())
    for told in waiting.values():
        yield warning("mails", told)
    if not waiting:
        yield ok("mails", "no mail to a commune has waited for long")


def check_keystore(settings: Settings, now: datetime) -> Iterator[Finding]:
    """Look at the master key, and at every copy of the key store."""
    keystore = open_keystore(settings)
    for directory in keystore.directories:
        if why := why_unwritable(directory):
            told = f"{directory}: {why}"
            yield failure("key store", told, MAKE_WRITABLE)
    try:
        keystore.check_master_key()
    except KeyStoreError as error:
        yield failure("key store", str(error))
        return  # nothing of it can be judged
    try:
        keystore.check_mounted()
    except KeyStoreError as error:
        yield failure("key store", str(error))
    else:
        count = len(keystore.directories)
        yield ok("key store", f"{settings.keystore_path}, in {count} {'copy' if count == 1 else 'copies'}")
    keystore.ledger.refresh()
    for problem in keystore.ledger.problems():
        yield failure("ledger", problem)
    yield from _check_copy(settings, now)


def _check_copy(settings: Settings, now: datetime) -> Iterator[Finding]:
    copied = copied_at(settings)
    if copied is None:
        yield note("key copy", "no copy was made from here yet: openepm-journal keys backup --to DIR, every hour")
        return
    at = datetime.fromtimestamp(int(copied), UTC)
    age = now - at
    if age.total_seconds() > COPY_LATE_SECONDS:
        ago = f"{age.days} days" if age.days else f"{age.seconds // 3600} h"
        told = f"the last copy of the key store is of {format_seconds(at)}, {ago} ago"
        yield warning("key copy", told, "openepm-journal keys backup --to DIR; its timer: systemctl list-timers")
    else:
        yield ok("key copy", f"the last is of {format_seconds(at)}")


def check_space(settings: Settings) -> Iterator[Finding]:
    """Look at the disks of everything that is written."""
    for what, path in places(settings).items():
        try:
            disk = os.statvfs(path)
        except FileNotFoundError:
            continue  # not made yet
        except OSError as error:
            yield failure("disk", f"{what} {path}: {error.strerror}")
            continue
        free, share = disk.f_bavail * disk.f_frsize, disk.f_bavail / max(disk.f_blocks, 1)
        told = f"{what} {path}: {free / 2**20:,.0f} MiB free, {share:.0%}"
        mend = "make room, or enlarge the file system; df -h shows it"
        if free < FULL_BYTES or disk.f_favail == 0 < disk.f_files:
            yield failure("disk", told, mend)
        elif share < LEAST_FREE:
            yield warning("disk", told, mend)
        else:
            yield ok("disk", told)


def check_service(settings: Settings) -> Iterator[Finding]:
    """Say whether the service is up, ready, and the one that answers on its port."""
    host, port = settings.address
    start = f"systemctl start {UNIT}, or openepm-journal serve; its log: journalctl -u {UNIT} -n 50"
    if _is_only_held():
        # A connection would start it.
        yield failure("service", f"{UNIT}.service does not run; systemd holds its port", start)
        return
    try:
        status, server, body = _get(host, port, "/readyz")
    except ConnectionRefusedError:
        yield failure("service", f"nobody answers on {settings.listen}: the service does not run", start)
        return
    except (OSError, http.client.HTTPException) as error:
        told = f"what holds {settings.listen} does not answer as the service does ({type(error).__name__})"
        yield failure("service", told, f"see who holds the port: ss -ltnp 'sport = :{port}'; then {start}")
        return
    if server != SERVER:
        told = f"another program holds {settings.listen}: it calls itself {server or 'nothing'}"
        mend = f"see which: ss -ltnp 'sport = :{port}'; end it, or set JOURNAL_LISTEN; then {start}"
        yield failure("service", told, mend)
        return
    if status == http.client.OK:
        yield ok("service", f"it answers on {settings.listen}, and is ready")
        return
    failing: list[str] = []
    with suppress(orjson.JSONDecodeError, AttributeError):
        checks = orjson.loads(body).get("checks", {})
        failing = [name for name, result in checks.items() if result != "ok"]
    told = f"it answers on {settings.listen}, and is not ready: {', '.join(failing) or f'status {status}'}"
    yield failure("service", told, f"each is named below, or in its log: journalctl -u {UNIT} -g 'not ready' -n 1")


def _get(host: str, port: int, path: str) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Server", ""), answer.read(1 << 20)
    finally:
        connection.close()


def _is_only_held() -> bool:
    """Tell whether systemd listens for a service that does not run."""
    if not SYSTEMD.is_dir():
        return False
    asked = ["systemctl", "is-active", f"{UNIT}.socket", f"{UNIT}.service"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=ANSWER_SECONDS)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False
    states = done.stdout.split()
    return states[:1] == ["active"] and states[1:2] in (["inactive"], ["failed"])


def now_of_host() -> datetime:
    """Return this machine's time, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)

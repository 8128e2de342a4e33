"""Three hosts with etcd, Patroni and PostgreSQL, from the files of deploy/ha as an operator has them.

What differs from an operator's hosts: names, addresses, directories, passwords, and that root may read the superuser's
socket. Each host is a network namespace; everything it runs works in its directory, by which it is found to be killed
or stopped as a machine is.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import asyncpg
from cryptography import x509

import sql
from journal.database.embedded import OWNER
from journal.database.pools import ROLES
from tests.support.guide import chapter, commands_in
from tests.support.hosts import Hosts
from tests.support.memory import choose_directory
from tests.support.proxies import make_pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

FILES = Path(__file__).parents[2] / "deploy" / "ha"
NAMES = ("db1", "db2", "db3")
# As the files have them.
NETWORK = "10.1.0"
PROGRAMS = "/usr/lib/postgresql/15/bin"
PASSWORD = "of the tests"
ACCOUNT = "postgres"
AS_POSTGRES = ("setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--init-groups")
START_SECONDS = 300
LOOK_SECONDS = 0.25
ANSWER = aiohttp.ClientTimeout(total=2)
MAY_CHANGE = {"Authorization": aiohttp.encode_basic_auth("patroni", PASSWORD)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A host: its name, its address, its directory."""

    name: str
    address: str
    directory: Path

    def processes(self) -> list[int]:
        """Return the processes that work in its directory, the oldest first."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):  # it has ended
                    if (entry / "cwd").readlink().is_relative_to(self.directory):
                        found.append(int(entry.name))
        return sorted(found)

    def signal(self, number: int) -> None:
        """Send a signal to everything it runs, until there is nothing new to send it to."""
        done: set[int] = set()
        while new := set(self.processes()) - done:
            for pid in new:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            done |= new

    def kill(self) -> None:
        """Kill everything it runs."""
        self.signal(signal.SIGKILL)


class Patroni:
    """The three hosts."""

    def __init__(self, hosts: Hosts, home: Path, changes: Mapping[str, str]) -> None:
        """Write their files; `changes` replaces texts of patroni.yml."""
        self.hosts = hosts
        self._home = home
        self._children: list[subprocess.Popen[bytes]] = []
        self.nodes = {
            name: Node(name=name, address=address, directory=home / name) for name, address in hosts.addresses.items()
        }
        self.passwords = home / "pgpass"
        self.passwords.write_text(f"*:*:*:*:{PASSWORD}\n", encoding="ascii")
        self.passwords.chmod(0o600)
        self._make_certificate()
        for node in self.nodes.values():
            self._write(node, changes)
        account = pwd.getpwnam(ACCOUNT)
        for path in (home, *home.rglob("*")):
            if path != self.passwords:
                os.chown(path, account.pw_uid, account.pw_gid)

    @property
    def dsn(self) -> str:
        """The owner's address, as the guide has it."""
        hosts = ",".join(f"{node.address}:5432" for node in self.nodes.values())
        options = f"target_session_attrs=read-write&sslmode=verify-full&sslrootcert={self._home}/tls/postgresql-ca.pem"
        return f"postgresql://{OWNER}@{hosts}/journal?{options}"

    def addresses_but(self, name: str) -> list[str]:
        """Return the addresses of the other hosts."""
        return [node.address for node in self.nodes.values() if node.name != name]

    def superuser_dsn(self, name: str, database: str = "journal") -> str:
        """The superuser's address on one host."""
        return f"postgresql://{ACCOUNT}@/{database}?host={self.nodes[name].directory}/run"

    def _make_certificate(self) -> None:
        tls = self._home / "tls"
        names = [x509.IPAddress(ip_address(node.address)) for node in self.nodes.values()]
        pair = make_pair(tls, "postgresql", names)
        pair.key.chmod(0o600)
        shutil.copy(pair.certificate, tls / "postgresql-ca.pem")

    def _write(self, node: Node, changes: Mapping[str, str]) -> None:
        for name in ("etcd", "run"):
            (node.directory / name).mkdir(parents=True)
        text = (FILES / "patroni.yml").read_text(encoding="utf-8")
        for old, new in changes.items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        text = _edited(text, node.name, "/etc/patroni/config.yml")
        text = re.sub(r"CHANGE-ME-\w+", PASSWORD, text)
        text = text.replace("local all postgres peer", "local all postgres trust")
        text = text.replace("/var/lib/postgresql/15/openepm-journal", str(node.directory / "data"))
        text = text.replace("/var/run/postgresql", str(node.directory / "run"))
        text = text.replace("/var/lib/postgresql/.pgpass-openepm-journal", str(node.directory / "pgpass"))
        text = text.replace("/etc/openepm-journal/tls", str(self._home / "tls"))
        (node.directory / "patroni.yml").write_text(self._placed(text), encoding="utf-8")
        text = (FILES / "etcd.env").read_text(encoding="utf-8")
        text = _edited(text, node.name, "/etc/default/etcd")
        text = text.replace("/var/lib/etcd/openepm-journal", str(node.directory / "etcd"))
        (node.directory / "etcd.env").write_text(self._placed(text), encoding="utf-8")

    def _placed(self, text: str) -> str:
        """Put the addresses of the test's network in place of the file's."""
        for at, node in enumerate(self.nodes.values(), start=1):
            text = re.sub(rf"\b10\.1\.0\.{at}\b", node.address, text)
        return text.replace(f"{NETWORK}.0/24", f"{self.hosts.network}.0/24")

    def start(self, name: str) -> None:
        """Start everything a host runs."""
        node = self.nodes[name]
        lines = (node.directory / "etcd.env").read_text(encoding="utf-8").splitlines()
        variables = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
        self._run(node, ["etcd"], variables)
        self.start_patroni(name)

    def start_patroni(self, name: str) -> None:
        """Start Patroni, which starts PostgreSQL."""
        node = self.nodes[name]
        self._run(node, ["patroni", str(node.directory / "patroni.yml")], {})

    async def stop_patroni(self, name: str) -> None:
        """Stop Patroni, as systemd does, and with it PostgreSQL; etcd goes on."""
        for pid in self._but_etcd(name).get(b"patroni", []):
            os.kill(pid, signal.SIGTERM)
        async with asyncio.timeout(START_SECONDS):
            while True:
                if not self._but_etcd(name):
                    return
                await asyncio.sleep(LOOK_SECONDS)

    def _but_etcd(self, name: str) -> dict[bytes, list[int]]:
        """Return what a host runs beside etcd, by the name of the program."""
        found: dict[bytes, list[int]] = {}
        for pid in self.nodes[name].processes():
            with suppress(OSError):  # it has ended
                program = Path(f"/proc/{pid}/comm").read_bytes().strip()
                if program != b"etcd":
                    found.setdefault(program, []).append(pid)
        return found

    def _run(self, node: Node, command: Sequence[str], variables: Mapping[str, str]) -> None:
        with (node.directory / f"{command[0]}.log").open("ab") as log:
            child = subprocess.Popen(
                [*self.hosts.command(node.name), *AS_POSTGRES, *command],
                cwd=node.directory,
                env={"PATH": os.environ["PATH"], "HOME": str(node.directory), **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._children.append(child)

    async def _told(self, node: Node) -> dict[str, Any]:
        """Return what a host's Patroni says of its own PostgreSQL; nothing if it does not answer."""
        async with aiohttp.ClientSession(timeout=ANSWER) as session:
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with session.get(f"http://{node.address}:8008/patroni") as answer:
                    found: dict[str, Any] = await answer.json(content_type=None)
                    return found
        return {}

    async def whole(self) -> str:
        """Wait until every host runs, one is the primary and one the synchronous standby; return the primary.

        Each is asked about itself: one that was cut off still knows the cluster as it was.
        """
        async with asyncio.timeout(START_SECONDS):
            while True:
                told = {name: await self._told(node) for name, node in self.nodes.items()}
                primaries = [name for name, one in told.items() if one.get("role") == "master"]
                synchronous = [name for name, one in told.items() if one.get("sync_standby")]
                timelines = {one.get("timeline") for one in told.values()}
                states = {one.get("state") for one in told.values()}
                if (len(primaries), len(synchronous), len(timelines), states) == (1, 1, 1, {"running"}):
                    return primaries[0]
                await asyncio.sleep(LOOK_SECONDS)

    async def synchronous(self) -> str:
        """Return the synchronous standby, by the PostgreSQL that has it; nothing if there is none."""
        for node in self.nodes.values():
            told = await self._told(node)
            if told.get("role") == "master":
                standbys = told.get("replication", [])
                return next((one["application_name"] for one in standbys if one["sync_state"] == "sync"), "")
        return ""

    async def standby_replaced(self, name: str) -> None:
        """Wait until another host than this one is the synchronous standby."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                if await self.synchronous() not in {"", name}:
                    return
                await asyncio.sleep(LOOK_SECONDS)

    async def replaced(self, name: str) -> str:
        """Wait until another host than this one is the primary; return it."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                for node in self.nodes.values():
                    if node.name != name and await self._is_primary(node):
                        return node.name
                await asyncio.sleep(LOOK_SECONDS)

    async def _is_primary(self, node: Node) -> bool:
        return (await self._told(node)).get("role") == "master"

    async def switch_over(self, name: str) -> None:
        """Have the primary hand over to its synchronous standby, as `patronictl switchover` does."""
        node = self.nodes[name]
        async with (
            aiohttp.ClientSession(headers=MAY_CHANGE) as session,
            session.post(f"http://{node.address}:8008/switchover", json={"leader": name}) as answer,
        ):
            assert answer.status == 200, await answer.text()

    async def configure(self, name: str, change: Mapping[str, object]) -> None:
        """Change what is for all hosts, by one of them, as `patronictl edit-config` does."""
        async with (
            aiohttp.ClientSession(headers=MAY_CHANGE) as session,
            session.patch(f"http://{self.nodes[name].address}:8008/config", json=change) as answer,
        ):
            assert answer.status == 200, await answer.text()

    async def type(self, name: str, command: str, answers: str, **variables: str) -> str:
        """Type a command of the guide on a host, and answer what it asks; return what it says. It must end with 0."""
        node = self.nodes[name]
        child = await asyncio.create_subprocess_exec(
            *self.hosts.command(name),
            *("bash", "-c", command.replace("/etc/patroni/config.yml", str(node.directory / "patroni.yml"))),
            env={"PATH": os.environ["PATH"], "HOME": str(node.directory), "LANG": "C.UTF-8", **variables},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await child.communicate(answers.encode())
        assert child.returncode == 0, said
        return said.decode()

    async def found(self) -> str:
        """Make roles and database on the primary, as `openepm-journal setup` says; return the primary."""
        primary = await self.whole()
        text = sql.read("setup.sql") + sql.read("roles.sql")
        text += "".join(f"ALTER ROLE journal_{role} PASSWORD '{PASSWORD}';\n" for role in ROLES)
        command = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", self.superuser_dsn(primary, "postgres")]
        done = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)
        await done.communicate(text.encode())
        assert done.returncode == 0
        return primary

    async def copy_base(self, name: str) -> Path:
        """Return a base backup of a host's PostgreSQL, taken by the replication protocol."""
        copy = self._home / "copy"
        source = f"host={self.nodes[name].address} user=replicator password='{PASSWORD}' sslmode=require"
        await self.type(name, f'{PROGRAMS}/pg_basebackup -d "{source}" -D {copy} -c fast', "")
        return copy

    async def has_slot(self, name: str, slot: str) -> None:
        """Wait until a host has a replication slot."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                if await self.ask(name, f"SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{slot}'"):
                    return
                await asyncio.sleep(LOOK_SECONDS)

    async def ask(self, name: str, statement: str) -> Any:
        """Return one value from one host's PostgreSQL."""
        connection = await asyncpg.connect(self.superuser_dsn(name, "postgres"))
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    def end(self) -> None:
        """Kill everything."""
        for node in self.nodes.values():
            node.signal(signal.SIGCONT)
            node.kill()
        for child in self._children:
            child.wait()


def _edited(text: str, name: str, path: str) -> str:
    """Return a file for another host than the first, edited by the command of the guide, which names the second."""
    if name == NAMES[0]:
        return text
    [command] = [one for one in commands_in(chapter(17)) if one.startswith("sed -i ") and one.endswith(path)]
    number = name.removeprefix("db")
    command = (
        command.removesuffix(path).replace("sed -i ", "sed ").replace("db2", name).replace("1.0.2:", f"1.0.{number}:")
    )
    return subprocess.run(["bash", "-c", command], input=text, capture_output=True, text=True, check=True).stdout


@asynccontextmanager
async def running_patroni(changes: Mapping[str, str] | None = None) -> AsyncIterator[Patroni]:
    """Run the three hosts, with the journal's roles and its empty database."""
    with Hosts(NAMES) as hosts, tempfile.TemporaryDirectory(prefix="oej-ha-", dir=choose_directory()) as home:
        cluster = Patroni(hosts, Path(home), changes or {})
        try:
            for name in NAMES:
                cluster.start(name)
            await cluster.found()
            yield cluster
        finally:
            cluster.end()

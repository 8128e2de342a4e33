"""Hosts on a network of their own: a network namespace each, behind a bridge of this machine. Root makes them.

One is cut off by taking its port out of the bridge: what is sent to it is lost and nobody says so, as when a switch
has failed. Two are parted by routes that lead nowhere, while others reach both.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Of the addresses for private use, none that a machine of these tests has.
NETWORKS = 200
SPACES = Path("/run/netns")
CLONE_NEWNET = 0x40000000


def enter(space: str) -> None:
    """Be on the network of this namespace from now on, as `ip netns exec` lets a program be: setns(2)."""
    with (SPACES / space).open("rb") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), space)


class Hosts:
    """Some hosts by name, and their network; this machine is on it too, at `.1`."""

    def __init__(self, names: Sequence[str]) -> None:
        """Choose names and addresses; `with` makes them."""
        number = os.getpid()
        self.network = f"10.{50 + number % NETWORKS}.{number // NETWORKS % 250}"
        self._tag = f"oej{number:x}"[:9]
        self.addresses = {name: f"{self.network}.{at}" for at, name in enumerate(names, start=11)}
        self.own_address = f"{self.network}.1"
        # Of this machine too: what hosts lose the way to, while they are reached from the other.
        self.other_address = f"{self.network}.2"

    def __enter__(self) -> Self:
        """Make the bridge and the namespaces."""
        try:
            _ip("link", "add", self._tag, "type", "bridge")
            _ip("address", "add", f"{self.own_address}/24", "dev", self._tag)
            _ip("address", "add", f"{self.other_address}/24", "dev", self._tag)
            _ip("link", "set", self._tag, "up")
            for name, address in self.addresses.items():
                space, port = self.space(name), self._port(name)
                _ip("netns", "add", space)
                _ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", space)
                _ip("-n", space, "address", "add", f"{address}/24", "dev", "eth0")
                _ip("-n", space, "link", "set", "eth0", "up")
                _ip("-n", space, "link", "set", "lo", "up")
                _ip("link", "set", port, "master", self._tag, "up")
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Take them away."""
        self._remove()

    def _remove(self) -> None:
        for name in self.addresses:
            _ip("link", "delete", self._port(name), must=False)
            _ip("netns", "delete", self.space(name), must=False)
        _ip("link", "delete", self._tag, must=False)

    def space(self, name: str) -> str:
        """Return the name of a host's network namespace."""
        return f"{self._tag}-{name}"

    def _port(self, name: str) -> str:
        return f"{self._tag}-{name}"

    def command(self, name: str) -> list[str]:
        """Return what a program's command line begins with, to run on that host."""
        return ["ip", "netns", "exec", self.space(name)]

    def cut(self, name: str) -> None:
        """Lose everything that is sent to or by the host."""
        _ip("link", "set", self._port(name), "nomaster")

    def part(self, name: str, addresses: Iterable[str]) -> None:
        """Lose what the host sends to these addresses; others still reach it."""
        for address in addresses:
            _ip("-n", self.space(name), "route", "add", "blackhole", f"{address}/32")

    def mend(self, name: str) -> None:
        """Let the host reach everybody again."""
        _ip("link", "set", self._port(name), "master", self._tag)
        _ip("-n", self.space(name), "route", "flush", "type", "blackhole", must=False)


def _ip(*arguments: str, must: bool = True) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if must and done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr}")

"""README's two commands on a clean Debian 12 that has python3, make and git, and no python3-venv."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.clean_host import CleanHost, can_run, copy_root, fetch_wheels

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parents[2]
LOG = HERE / "var" / "two-commands.log"
PRESENT = "python3 make git"
# Of the suite, a sample: it starts, and reaches the database that it finds. The programs that other tests need
# (a browser, Barman, nginx…) are not installed for it, and the unit tests' coverage is not counted.
SAMPLE = "make test -o tools -o coverage WORKERS=2 PYTEST_ADDOPTS='-k test_append'"


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.needs("debootstrap", "systemd-nspawn", "nsenter", "git")
@pytest.mark.skipif(can_run() is not None, reason=str(can_run()))
def test_readmes_two_commands(debian: Path, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Root has what is missing installed; another account is told, in one line, what to type. Both then work."""
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text("", encoding="utf-8")
    root = tmp_path / "debian"
    copy_root(debian, root, fetched=[*PRESENT.split(), "python3-venv"])
    fetch_wheels(root / "wheels")
    subprocess.run(["git", "clone", "--quiet", "--bare", HERE, root / "srv" / "journal.git"], check=True)
    with CleanHost(root, LOG) as host:
        host.must(f"apt-get install -y -qq --no-install-recommends {PRESENT}")
        host.variables |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"}
        assert host.run("python3 -c 'import ensurepip'").code == 1
        host.must("git clone -q /srv/journal.git journal && useradd --create-home alice")
        host.must("cp -R journal /home/alice && chown -R alice: /home/alice/journal")
        as_alice = "cd /home/alice/journal && HOME=/home/alice runuser -u alice -- make demo"
        refused = host.run(as_alice)
        assert refused.code == 2
        assert re.search(r"type: sudo (apt-get install python3\.\d+-venv)$", refused.said, re.MULTILINE)
        for who, command in (("root", "cd journal && make demo"), ("alice", as_alice)):
            demo = host.run(command)
            assert (demo.code, "Every step succeeded." in demo.said) == (0, True), demo.said
            record_property("evidence", f"make demo, without python3-venv, as {who}: {demo.seconds:.0f} s to its end")
        sample = host.run(f"cd journal && {SAMPLE}")
        assert sample.code == 0, sample.said
        [passed] = re.findall(r"(\d+) passed", sample.said)
        record_property("evidence", f"make test there, a sample: {passed} passed in {sample.seconds:.0f} s")
    shutil.rmtree(root)

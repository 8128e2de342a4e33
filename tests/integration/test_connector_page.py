"""The page of the connector: what it has one type is typed, and what its commands print is in its table."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from journal.cli.parser import make_parser
from tests.support.php import DIRECTORY, Connector
from tests.support.rig import SOURCE
from tests.support.serving import Serving, found_site

if TYPE_CHECKING:
    from tests.support.serving import Site

ROOT = Path(__file__).parents[2]
PAGE = (DIRECTORY / "LISEZMOI.md").read_text(encoding="utf-8")
# What is said of a call, in PHP's error log, or stands before a message of the table.
OF_CALLS = ("options : ", "rien n’est noté", "catégorie : ", "option inconnue", "aucun agent", "événement impossible")
OF_CALLS += ("envoi arrêté depuis",)
WELL = "main-courante : 0 en attente, 0 mis de côté\n"


def blocks(language: str = "sh") -> list[str]:
    """Return what the page has one type, block by block."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return [re.sub(f"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


async def bash(script: str, **environment: str) -> str:
    """Type a block, at the root of the repository; return what is printed."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", script),
        cwd=ROOT,
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    return printed.decode()


def on_a_server(block: str, home: Path) -> str:
    """Return a block for this machine: in a directory of the test's, under its account."""
    block = block.replace("/usr/share/openepm", f"{home}/share").replace("/var/spool/openepm-journal", f"{home}/spool")
    return block.replace("/etc/openepm", f"{home}/etc").replace("www-data", "root")


async def first_event(site: Site, home: Path) -> None:
    """Type what the first chapter has one type once `make run` is up."""
    connector = Connector.install(site, home)
    typed = blocks()[1].replace("$PWD/var/demo/sandbox/journal.ini", str(connector.config))
    assert await bash(typed) == f"bool(true)\n{WELL}"


async def server(site: Site, home: Path) -> None:
    """Type the second chapter, with the site's address and token; then what is declared."""
    install, attempt, declare = (on_a_server(block, home) for block in (blocks()[3], blocks()[4], blocks()[5]))
    await bash(install)
    (home / "etc" / "journal.token").write_text(site.modules["albi"], encoding="ascii")
    (chmod,) = re.findall(r"`(chmod .*?)`", PAGE)
    await bash(on_a_server(chmod, home))
    settings = on_a_server(blocks("ini")[0], home).replace("https://journal.example.fr", site.url)
    (home / "etc" / "journal.ini").write_text(settings.replace("/openepm/albi/", f"{SOURCE}:"), encoding="utf-8")
    configured = {"OPENEPM_JOURNAL": str(home / "etc" / "journal.ini")}
    assert await bash(attempt, **configured) == f"bool(true)\n{WELL}"
    operators, ours = declare.split("runuser")
    make_parser().parse_args(shlex.split(operators.replace("\\\n", ""))[1:])
    (home / "spool" / "main-courante" / "losses.ndjson").write_text(
        json.dumps({"first": 3, "last": 5, "reason": "trop anciens", "since": ""}) + "\n", encoding="utf-8"
    )
    assert "1 perte(s)" in await bash(f"runuser{ours}", **configured)


@pytest.mark.needs("php")
@pytest.mark.skipif(os.geteuid() != 0, reason="the page has root type it")
async def test_what_the_page_has_one_type(dsn: str, tmp_path: Path) -> None:
    """On one's own machine, and on a server: the event is in the journal, and all is well."""
    site = await found_site(tmp_path / "service", dsn)
    async with await Serving.start(site):
        await first_event(site, tmp_path / "module")
        await server(site, tmp_path / "server")


def test_its_other_commands() -> None:
    """Each names a target, an option, a file that there is."""
    assert blocks()[0] == "make run\n"
    assert "\nrun:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert blocks()[2].count("sandbox/service.pid") == 2
    (credential,) = re.findall(r"`openepm-journal (credential add.*?)`", PAGE, flags=re.DOTALL)
    assert make_parser().parse_args(shlex.split(credential)).category == ["main-courante", "ecrits", "comptes"]
    compile(blocks("python")[0], "LISEZMOI.md", "exec")
    assert len(PAGE.splitlines()) < 200


@pytest.mark.needs("php")
def test_each_message_is_in_the_table() -> None:
    """What stops or troubles is in the table with its remedy, and the table has no message that nothing prints."""
    table = PAGE.partition("### Ce que disent")[2].partition("**Déclarer.**")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    snippets = [snippet for cells in rows for snippet in re.findall("`(.*?)`", cells[0])]
    assert all(len(cells) == 3 for cells in rows)
    source = "".join(
        (DIRECTORY / name).read_text(encoding="utf-8") for name in ("OpenepmJournal.php", "openepm-journal-php")
    )
    # The text of a status stands before what the words say.
    printed = source.replace("\\'", "'")
    for snippet in snippets:
        assert re.sub(r"^réponse \d+ : ", "", snippet).strip("()").partition(" : ")[0] in printed, snippet
    code = f"require '{DIRECTORY}/OpenepmJournal.php';"
    code += "echo json_encode([array_values(OpenepmJournalWords::NETWORK), OpenepmJournalWords::KINDS]);"
    done = subprocess.run(["php", "-r", code], capture_output=True, text=True, check=True)
    network, kinds = json.loads(done.stdout)
    # Of events themselves, whose faults the sentence says, with a code.
    own = {"misshapen", "invalid", "empty", "purged", "late", "known", "oversize"}
    messages = [*network, *(sentence for kind, sentence in kinds.items() if kind not in own)]
    literals = r"(?:OpenepmJournalException\(|\$told\[\] =)(?:\s*\$[^.;]+ \.)?\s*(['\"])(.*?)\1"
    found = [text for _, text in re.findall(literals, source.replace("\\'", "’"), re.DOTALL)]
    assert len(found) > 20
    messages += [text for text in found if not text.startswith(OF_CALLS)]
    bare = [snippet.replace("aucune réponse : ", "") for snippet in snippets]
    bare = [re.sub(r"^réponse \d+ : ", "", snippet).replace("'", "’") for snippet in bare]
    untold = [text for text in messages if not any(snippet in text.replace("'", "’") for snippet in bare)]
    assert not untold, "\n".join(untold)

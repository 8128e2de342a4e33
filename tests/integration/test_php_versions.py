"""The connector is for PHP 7.4 and later: real ones, compiled to WebAssembly, read and run it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.php import DIRECTORY

if TYPE_CHECKING:
    from pathlib import Path

RUNTIME = "@php-wasm/cli@3.1.56"
# Of what PHP 8 has added: constructs by their token, functions by their name. CI's PHP is newer, and would take them.
NEWER = r"""
$tokens = array('T_MATCH', 'T_ENUM', 'T_READONLY', 'T_ATTRIBUTE', 'T_NULLSAFE_OBJECT_OPERATOR');
$functions = array('str_contains', 'str_starts_with', 'str_ends_with', 'get_debug_type', 'array_is_list', 'array_find',
    'array_any', 'array_all', 'json_validate', 'mb_str_pad', 'iterator_apply', 'fdiv', 'fdatasync', 'mb_trim');
foreach (array_slice($argv, 1) as $path) {
    foreach (PhpToken::tokenize(file_get_contents($path)) as $token) {
        $is_call = $token->is(T_STRING) && in_array($token->text, $functions, true);
        if ($is_call || in_array($token->getTokenName(), $tokens, true)) {
            echo "$path:$token->line: $token->text\n";
        }
    }
}
"""
FILES = [DIRECTORY / name for name in ("OpenepmJournal.php", "openepm-journal-php", "exemple/index.php")]
RUN = """<?php
error_reporting(E_ALL);
set_error_handler(function ($level, $message, $file, $line) {{
    if (error_reporting() & $level) {{ throw new ErrorException("$message, line $line"); }}
}});
require '{connector}';
$j = new OpenepmJournal(array(
    'url' => 'http://127.0.0.1:9', 'token_file' => '{token}', 'source' => '/a', 'spool' => '{spool}',
));
$j->agent('c.martin', array('name' => null));
$told = array($j->consultation('MC-1', 'Relecture'), $j->creation('MC-2'), $j->liste(3), $j->connexion());
$told[] = $j->creation(null);
echo json_encode(array(PHP_VERSION, $told, array_keys($j->flush(1.0)), $j->health()['main-courante']['waiting']));
"""


@pytest.mark.needs("php")
def test_no_newer_construct() -> None:
    """No construct and no function that PHP 7.4 lacks is used (but `fsync`, where it is there)."""
    done = subprocess.run(["php", "-r", NEWER, "--", *FILES], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    planted = "$a?->b(); match (1) { default => str_contains('', '') };"
    found = subprocess.run(
        ["php", "-r", NEWER, "--", f"data:,<?php {planted}"], capture_output=True, text=True, check=True
    )
    assert len(found.stdout.splitlines()) == 3


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Install PHP of all versions; return the program, which takes the version from the variable PHP."""
    place = tmp_path_factory.mktemp("php-wasm")
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(place), RUNTIME]
    subprocess.run(install, check=True, capture_output=True)
    return str(place / "node_modules" / ".bin" / "php-wasm-cli")


@pytest.mark.campaign
@pytest.mark.needs("node", "npm")
@pytest.mark.parametrize("version", ["7.4", "8.0", "8.1", "8.2", "8.3", "8.4", "8.5"])
async def test_versions(version: str, runtime: str, tmp_path: Path) -> None:
    """Each version reads the files without a word, and records and keeps events."""
    environment = os.environ | {"PHP": version}

    async def run(*arguments: str) -> str:
        command = (runtime, *arguments)
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
        said, _ = await process.communicate()
        return said.decode().strip()

    for path in FILES:
        assert await run("-l", str(path)) == f"No syntax errors detected in {path}"
    (tmp_path / "token").write_text("0" * 64, encoding="ascii")
    page = tmp_path / "page.php"
    page.write_text(
        RUN.format(connector=FILES[0], token=tmp_path / "token", spool=tmp_path / "spool"), encoding="utf-8"
    )
    told = json.loads(await run(str(page)))
    assert told[0].startswith(version)
    assert told[1:] == [[True] * 4 + [False], ["main-courante"], 4]

"""`python -m deploy.release [DIRECTORY]`: make everything of a release in `dist`, with `SHA256SUMS`."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from deploy.release import deb
from deploy.release.lock import PROJECT, runtime_graph, runtime_pins
from deploy.release.sbom import make_sbom
from ingest.downloads import write_verifiers
from journal import __version__

HERE = Path(__file__).parents[2]
SUMS = "SHA256SUMS"


def main() -> int:
    """Make the files; print each with its size."""
    parser = argparse.ArgumentParser(prog="python -m deploy.release", description="Make the files of a release.")
    parser.add_argument("directory", nargs="?", type=Path, default=HERE / "dist", help="emptied first")
    dist: Path = parser.parse_args().directory.absolute()
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir(parents=True)
    # The date of what is released, so that whoever builds the same commit again gets the same files.
    at = os.environ.setdefault("SOURCE_DATE_EPOCH", _git("log", "-1", "--format=%ct"))
    pins = runtime_pins()
    sbom = make_sbom(__version__, pins, runtime_graph(), int(at))
    (dist / f"{PROJECT}-{__version__}.cdx.json").write_text(sbom, encoding="utf-8")
    write_verifiers(dist)
    source = f"{PROJECT}-{__version__}"
    _git("archive", "--format=tar.gz", f"--prefix={source}/", f"--output={dist / source}.tar.gz", "HEAD")
    _run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "-w",
        str(dist),
        ".",
    )
    [wheel] = dist.glob("*.whl")
    if shutil.which("dpkg-deb") is None:
        sys.stderr.write("no Debian package is made: there is no dpkg-deb here\n")
    else:
        deb.build(deb.Parts(version=__version__, wheel=wheel, pins=pins, sbom=sbom), dist)
    _write_sums(dist)
    return 0


def _write_sums(dist: Path) -> None:
    lines = []
    for path in sorted(dist.iterdir()):
        content = path.read_bytes()
        lines.append(f"{sha256(content).hexdigest()}  {path.name}\n")
        sys.stdout.write(f"{path.name}: {len(content)} bytes\n")
    (dist / SUMS).write_text("".join(lines), encoding="utf-8")


def _git(*arguments: str) -> str:
    return subprocess.check_output(["git", "-C", HERE, *arguments], text=True).strip()  # noqa: S603, S607  (git, as it is found)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, cwd=HERE)  # noqa: S603  (our own words)


if __name__ == "__main__":
    sys.exit(main())

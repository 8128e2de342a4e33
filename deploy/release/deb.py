"""The Debian package: a virtual environment made from the lock, the files of `deploy/`, and Debian's own scripts."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from deploy.release.lock import PROJECT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.release.lock import Pin

HERE: Final = Path(__file__).parents[2]
DEPLOY: Final = HERE / "deploy"
DEBIAN: Final = DEPLOY / "debian"
# The interpreter that the package will depend on: the wheels in it are for its version.
PYTHON: Final = Path(os.environ.get("DEB_PYTHON", "/usr/bin/python3"))
HOME: Final = Path("opt") / PROJECT
SCRIPTS: Final = {"openepm-journal": "journal.cli.main", "journal-verify": "journal.verifier.cli"}
MAINTAINER_SCRIPTS: Final = ("postinst", "prerm", "postrm")
UNITS: Final = (".service", ".timer", ".socket", ".path", ".target")
DOCUMENTS: Final = ("README.md", "README.fr.md", "FORMAT.md", "SECURITY.md", "deploy/GUIDE.fr.md")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What goes in: the project's wheel, the pins it runs with, its bill of materials."""

    version: str
    wheel: Path
    pins: Sequence[Pin]
    sbom: str


def debian_version(version: str) -> str:
    """Return a version as Debian orders it: `1.0.0rc1` (PEP 440) is `1.0.0~rc1`, which comes before `1.0.0`."""
    return re.sub(r"(?<=\d)(?=(?:a|b|rc)\d)", "~", version)


def build(parts: Parts, dist: Path) -> Path:
    """Make `openepm-journal_<version>_<architecture>.deb` in `dist`; return its path."""
    architecture = _told(["dpkg", "--print-architecture"])
    with TemporaryDirectory(prefix="openepm-journal-deb-") as place:
        tree = Path(place) / "tree"
        _make_environment(tree, parts)
        _add_files(tree, parts)
        version = debian_version(parts.version)
        _add_control(tree, version, architecture)
        path = dist / f"{PROJECT}_{version}_{architecture}.deb"
        _run(["dpkg-deb", "--root-owner-group", "-Zxz", "-z3", "--build", tree, path])
    return path


def _make_environment(tree: Path, parts: Parts) -> None:
    """Install the pins, hashes checked, and the wheel; nothing in it names the place where it was made."""
    home = tree / HOME
    _run([PYTHON, "-m", "venv", "--without-pip", "--symlinks", home])
    lock = tree.parent / "runtime.lock"
    lock.write_text("".join(pin.text for pin in parts.pins), encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", home / "bin/python3", "install", "--quiet"]
    pip += ["--disable-pip-version-check", "--no-compile", "--no-deps", "--only-binary", ":all:"]
    _run([*pip, "--require-hashes", "-r", lock])
    _run([*pip, "--no-index", "--find-links", parts.wheel.parent, f"{PROJECT}=={parts.version}"])
    _run([sys.executable, "-m", "pip", "--python", home / "bin/python3", "check"], stdout=subprocess.DEVNULL)
    shutil.rmtree(home / "bin")
    shutil.rmtree(home / "include", ignore_errors=True)
    (home / "bin").mkdir()
    (home / "bin" / "python3").symlink_to(PYTHON)
    (home / "pyvenv.cfg").write_text(
        f"home = {PYTHON.parent}\ninclude-system-site-packages = false\nversion = {_python_version()}\n"
    )
    for name, module in SCRIPTS.items():
        _write(
            home / "bin" / name,
            f"#!/{HOME}/bin/python3\nimport sys\n\nfrom {module} import main\n\nsys.exit(main())\n",
            mode=0o755,
        )
    # Compiled here, because no account may write there; by hash, so that no date of this build is in them.
    compile_all = [PYTHON, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    _run([*compile_all, "-s", tree, "-p", "/", home / "lib"])


def _add_files(tree: Path, parts: Parts) -> None:
    """Add units, accounts, directories, the command, and the documents."""
    units = tree / "usr/lib/systemd/system"
    for path in (*DEPLOY.iterdir(), *(DEPLOY / "backup" / "systemd").glob("openepm-journal-keys.*")):
        if path.suffix in UNITS:
            _copy(path, units / path.name)
    shutil.copytree(
        DEPLOY, tree / HOME / "deploy", ignore=shutil.ignore_patterns("container", "debian", "release", "__pycache__")
    )
    _copy(DEBIAN / "sysusers.conf", tree / f"usr/lib/sysusers.d/{PROJECT}.conf")
    _copy(DEBIAN / "tmpfiles.conf", tree / f"usr/lib/tmpfiles.d/{PROJECT}.conf")
    _copy(DEBIAN / "openepm-journal", tree / "usr/bin/openepm-journal", mode=0o755)
    (tree / "usr/bin/journal-verify").symlink_to(f"/{HOME}/bin/journal-verify")
    documents = tree / f"usr/share/doc/{PROJECT}"
    for name in DOCUMENTS:
        _copy(HERE / name, documents / Path(name).name)
    _copy(DEBIAN / "copyright", documents / "copyright")
    _write(documents / "sbom.cdx.json", parts.sbom)
    changes = (HERE / "CHANGELOG.md").read_bytes()
    (documents / "changelog.gz").write_bytes(gzip.compress(changes, mtime=0))


def _add_control(tree: Path, version: str, architecture: str) -> None:
    """Add what dpkg reads: the description, the scripts, the sums."""
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    kibibytes = sum(path.stat().st_size for path in files) // 1024
    major, minor = _python_version().split(".")[:2]
    control = (DEBIAN / "control").read_text(encoding="utf-8")
    control = control.replace("@VERSION@", version).replace("@ARCHITECTURE@", architecture)
    control = control.replace("@INSTALLED_SIZE@", str(kibibytes))
    control = control.replace("@PYTHON@", f"python3 (>= {major}.{minor}), python3 (<< {major}.{int(minor) + 1})")
    _write(tree / "DEBIAN/control", control)
    sums = [
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(tree)}\n"
        for path in files
    ]
    _write(tree / "DEBIAN/md5sums", "".join(sums))
    for name in MAINTAINER_SCRIPTS:
        _copy(DEBIAN / name, tree / "DEBIAN" / name, mode=0o755)
    for path in tree.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
        elif not path.is_symlink():
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def _python_version() -> str:
    return _told([PYTHON, "-c", "import platform; print(platform.python_version())"])


def _copy(source: Path, target: Path, *, mode: int = 0o644) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def _write(target: Path, text: str, *, mode: int = 0o644) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    target.chmod(mode)


def _run(command: Sequence[object], *, stdout: int | None = None) -> None:
    subprocess.run([str(part) for part in command], check=True, stdout=stdout)  # noqa: S603  (our own words)


def _told(command: Sequence[object]) -> str:
    return subprocess.check_output([str(part) for part in command], text=True).strip()  # noqa: S603  (same)

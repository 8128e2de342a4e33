"""`make verifier`: write `journal-verify.pyz` and its SHA-256 into a directory."""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path

from journal.verifier_file import NAME, build


def main() -> int:
    """Write both files into the directory named, `dist` unless one is."""
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else "dist")
    directory.mkdir(parents=True, exist_ok=True)
    content = build()
    path = directory / NAME
    path.write_bytes(content)
    path.chmod(0o755)
    (directory / f"{NAME}.sha256").write_text(f"{sha256(content).hexdigest()}  {NAME}\n")
    print(f"{path}: {len(content)} bytes, SHA-256 {sha256(content).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

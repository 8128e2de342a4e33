"""`make verifier`: write the two verifiers of a release into a directory, each with its SHA-256 beside it."""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path

from ingest.downloads import PAGE, PAGE_NAME, VERIFIER
from journal.verifier.pyz import NAME

EXECUTABLE = 0o755
PLAIN = 0o644


def main() -> int:
    """Write the files into the directory named, `dist` unless one is."""
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else "dist")
    directory.mkdir(parents=True, exist_ok=True)
    for name, content, mode in ((NAME, VERIFIER, EXECUTABLE), (PAGE_NAME, PAGE, PLAIN)):
        path = directory / name
        path.write_bytes(content)
        path.chmod(mode)
        digest = sha256(content).hexdigest()
        (directory / f"{name}.sha256").write_text(f"{digest}  {name}\n")
        print(f"{path}: {len(content)} bytes, SHA-256 {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

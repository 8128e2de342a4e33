"""Begin `journal-verify.pyz`: say plainly what is missing, then verify. Free software under GPL-3.0-or-later.

This file is read by whatever `python` somebody has, down to versions that know neither f-strings nor annotations:
only what was always Python stands here, at the top level.
"""

import sys

OLDEST_PYTHON = (3, 9)
OLDEST_CRYPTOGRAPHY = 38
NOT_RUN = 2

problem = ""
if sys.version_info < OLDEST_PYTHON:
    problem = "Python 3.9 or later is needed, and this is Python %d.%d: try python3" % sys.version_info[:2]  # noqa: UP031
else:
    try:
        import cryptography

        found = cryptography.__version__
    except ImportError:
        found = ""
    if not found:
        problem = "the library cryptography is missing"
    elif int(found.partition(".")[0]) < OLDEST_CRYPTOGRAPHY:
        problem = "the library cryptography is too old (%s)" % found  # noqa: UP031
    if problem:
        problem += ", version 38 or later is needed: python3 -m pip install cryptography, or apt install "
        problem += "python3-cryptography"

if problem:
    sys.stderr.write("journal-verify: " + problem + "\n")
    sys.exit(NOT_RUN)

from journal.verifier.cli import main  # noqa: E402  (an older Python could not read it)

sys.exit(main())

"""The start of `journal-verify.pyz`: report what is missing, or verify. Free software under GPL-3.0-or-later.

Any `python` may read this file, even one without f-strings and annotations: it uses only syntax that every version
has, at the top level.
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

from journal.verifier.cli import main  # noqa: E402  (an older Python cannot parse it)

sys.exit(main())

"""`journal-verify`: the auditor's command. Offline; it reads the files given, in place, and writes none unasked."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from journal import __version__
from journal.core.errors import RewrittenError, VerificationError
from journal.extract.known import read_known
from journal.extract.table import visible
from journal.extract.verify import verify_extract
from journal.pki import certificates
from journal.verifier.files import NotRunError, Progress, complain, opened, read_pem, tell
from journal.verifier.repair import repair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journal.extract.report import Report

EXIT_VERIFIED, EXIT_WRONG, EXIT_NOT_RUN = 0, 1, 2

_DESCRIPTION = """\
Verify an extract of an access journal, offline, trusting only the certificates you give.
"""
_EPILOG = """\
example:
  journal-verify extract.asice --trust trust.pem --known-seal head-2025-03-01.json

Get trust.pem from its owner by another channel than the extract. A known seal is an earlier answer of the service
to GET …/head, or an older extract that you kept: it shows whether anything was rewritten since.

An extract that a program has opened and saved, or packed again, is "rewritten": its parts are authentic, but it is not
the file that was issued. --repair NEW writes them as one, and verifies that:
  journal-verify from-mail.zip --trust trust.pem --repair extract.asice

exit status: 0 if and only if everything you asked for was verified; 1 if something is wrong with the extract (bad
signature, untrusted, malformed, rewritten, mismatched part, broken chain, gap, foreign entry, fork, early deletion,
over-retention, not covered); 2 if it could not be verified, or something you asked for could not be checked.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify as the arguments say (`sys.argv` by default) and return the exit status.

    The result goes to standard output, everything else to standard error. argparse raises SystemExit for wrong
    arguments (2) and for --help (0).
    """
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except (NotRunError, OSError) as error:
        complain(str(error))
    except KeyboardInterrupt:
        complain("interrupted: nothing is verified")
    except Exception as error:  # noqa: BLE001  (uncaught, it would end with status 1, which blames the extract)
        complain(f"the verifier failed, which says nothing about the extract: {error!r:.200}")
    return EXIT_NOT_RUN


def _run(options: argparse.Namespace) -> int:
    """Verify and print the result."""
    try:
        try:
            report = _verify(options, options.file)
        except RewrittenError:
            if options.repair is None:
                raise
            repair(options.file, options.repair)
            report = _verify(options, options.repair)
            complain(f"{options.repair} was written, and is what was verified")
    except VerificationError as error:
        return EXIT_WRONG if tell(_refusal(error, as_json=options.json)) else EXIT_NOT_RUN
    told = tell(_as_json(report) if options.json else _as_text(report))
    for sentence in report.unanswered:
        complain(f"not checked: {sentence}")
    return EXIT_VERIFIED if told and not report.unanswered else EXIT_NOT_RUN


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="journal-verify",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="the extract")
    parser.add_argument(
        "--trust", metavar="PEM", type=Path, required=True, help="certificates you trust to certify the service"
    )
    parser.add_argument("--tsa-trust", metavar="PEM", type=Path, help="certificates you trust to certify time-stamps")
    parser.add_argument(
        "--known-seal",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="an answer of GET …/head, or an older extract; may be given several times",
    )
    parser.add_argument("--repair", metavar="NEW", type=Path, help="where to write an extract that is only rewritten")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    return parser


def _verify(options: argparse.Namespace, path: Path) -> Report:
    anchors = _read_anchors(options.trust)
    tsa_anchors = None if options.tsa_trust is None else _read_anchors(options.tsa_trust)
    known = []
    for kept in options.known_seal:
        with opened(kept) as file:
            known.append(read_known(file, kept.name))
    progress = Progress()
    with opened(path) as file:
        try:
            report = verify_extract(file, anchors=anchors, tsa_anchors=tsa_anchors, known=known, progress=progress)
        finally:
            progress.wipe()
    if tsa_anchors is None or any(checked.timestamp for checked in report.seals):
        return report
    return replace(report, unanswered=(*report.unanswered, "--tsa-trust: no time-stamp was found"))


def _read_anchors(path: Path) -> list[bytes]:
    try:
        anchors = certificates.pem_to_der(read_pem(path))
        for anchor in anchors:
            certificates.parse(anchor)
    except VerificationError as error:
        raise NotRunError(f"{path}: {error}") from error
    return anchors


def _as_json(report: Report) -> str:
    return _dump({"verified": True, **report.as_json()})


def _refusal(error: VerificationError, *, as_json: bool) -> str:
    if as_json:
        value = {"verdict": error.verdict, "sentence": f"{error.verdict}: {error}"}
        return _dump({"verified": False, **value, "part": error.part, "reason": error.reason})
    return visible(f"NOT VERIFIED  {error.verdict}: {error}")


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=True, indent=2)


def _as_text(report: Report) -> str:
    manifest, signature = report.manifest, report.signature
    lines = [
        f"VERIFIED  {report.verdict}",
        "",
        f"origin      {manifest.origin}",
        f"entries     {manifest.disclosed} disclosed, {manifest.withheld} withheld",
        f"requester   {manifest.requester} ({manifest.purpose})",
        f"signed by   {signature.subject}, at {signature.signing_time:%Y-%m-%dT%H:%M:%SZ} (its own claim)",
    ]
    for title, sentences in (
        ("checked", report.checked),
        ("worth knowing", report.remarks),
        ("not checked", (*report.unanswered, *report.not_checked)),
    ):
        if sentences:
            lines += ["", f"{title}:", *(f"  - {sentence}" for sentence in sentences)]
    return "\n".join(map(visible, lines))

"""`journal-verify`: the auditor's command. Offline; reads the files it is given and writes none."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, TextIO

from journal import certificates
from journal.errors import VerificationError
from journal.known import read_known
from journal.spreadsheet import visible
from journal.verify import verify_extract

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journal.report import Report

EXIT_VERIFIED, EXIT_WRONG, EXIT_NOT_RUN = 0, 1, 2

_DESCRIPTION = """\
Verify an extract of an access journal, offline, trusting nobody but the certificates you bring.
"""
_EPILOG = """\
example:
  journal-verify extract.asice --trust trust.pem --known-seal head-2025-03-01.json

Get trust.pem from its owner by another way than the extract. A known seal is what the service answered
earlier to GET …/head, or an older extract you kept: with one, you see if anything was rewritten since.

exit status: 0 if and only if all you asked for was verified; 1 if something is wrong with the extract (bad
signature, untrusted, malformed, mismatched part, broken chain, gap, foreign entry, fork, early deletion,
over-retention, not covered); 2 if it could not be verified, or something you asked for could not be checked.
"""


class _NotRunError(Exception):
    """What was given cannot be used; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify as the arguments say (the process's own by default) and return the exit status.

    The result goes to standard output, everything else to standard error. SystemExit for arguments that are
    wrong (2) and for --help (0), as argparse has it.
    """
    options = _parser().parse_args(arguments)
    try:
        report = _verify(options)
    except VerificationError as error:
        _say(_failure_as_json(error) if options.json else _failure_as_text(error), sys.stdout)
        return EXIT_WRONG
    except (_NotRunError, OSError) as error:
        _say(f"journal-verify: {visible(str(error))}", sys.stderr)
        return EXIT_NOT_RUN
    _say(_as_json(report) if options.json else _as_text(report), sys.stdout)
    for sentence in report.unanswered:
        _say(f"journal-verify: not checked: {visible(sentence)}", sys.stderr)
    return EXIT_NOT_RUN if report.unanswered else EXIT_VERIFIED


def _say(text: str, stream: TextIO) -> None:
    """Print a text; a terminal that lacks one of its characters must not keep the verdict from being told."""
    encoding = stream.encoding or "ascii"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


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
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    return parser


def _verify(options: argparse.Namespace) -> Report:
    anchors = _read_anchors(options.trust)
    tsa_anchors = None if options.tsa_trust is None else _read_anchors(options.tsa_trust)
    known = []
    for path in options.known_seal:
        with path.open("rb") as file:
            known.append(read_known(file, path.name))
    with options.file.open("rb") as file:
        if not file.seekable():
            raise _NotRunError(f"{options.file} cannot be read twice: give a file")
        report = verify_extract(
            file, anchors=anchors, tsa_anchors=tsa_anchors, known=known, progress=_progress(sys.stderr)
        )
    if tsa_anchors is None or any(statement.timestamp for statement in report.seals):
        return report
    return replace(report, unanswered=(*report.unanswered, "--tsa-trust: no time-stamp was found"))


def _read_anchors(path: Path) -> list[bytes]:
    try:
        anchors = certificates.pem_to_der(path.read_bytes())
        for anchor in anchors:
            certificates.parse(anchor)
    except VerificationError as error:
        raise _NotRunError(f"{path}: {error}") from error
    return anchors


def _progress(err: TextIO) -> Callable[[int, int], None] | None:
    """Return what shows progress, on a terminal only."""
    if not err.isatty():
        return None
    shown = -1

    def show(done_bytes: int, total_bytes: int) -> None:
        nonlocal shown
        percent = 100 * done_bytes // total_bytes
        if percent > shown:
            shown = percent
            # The line is wiped when all is read.
            err.write(f"\rverifying: {percent} %" if percent < 100 else "\r\33[K")  # noqa: PLR2004  (percent)
            err.flush()

    return show


def _as_json(report: Report) -> str:
    return _dump({"verified": True, **report.as_json()})


def _failure_as_json(error: VerificationError) -> str:
    return _dump({"verified": False, "verdict": error.verdict, "part": error.part, "reason": error.reason})


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=True, indent=2)


def _failure_as_text(error: VerificationError) -> str:
    return visible(f"NOT VERIFIED  {error.verdict}: {error}")


def _as_text(report: Report) -> str:
    manifest, signature = report.manifest, report.signature
    lines = [
        f"VERIFIED  {report.verdict}",
        "",
        f"origin      {manifest.origin}",
        f"entries     {manifest.disclosed} disclosed, {manifest.withheld} withheld",
        f"requester   {manifest.requester} ({manifest.purpose})",
        f"signed by   {signature.subject}, at {signature.signing_time:%Y-%m-%dT%H:%M:%SZ} as it claims",
    ]
    for title, sentences in (
        ("checked", report.checked),
        ("worth knowing", report.remarks),
        ("not checked", (*report.unanswered, *report.not_checked)),
    ):
        if sentences:
            lines += ["", f"{title}:", *(f"  - {sentence}" for sentence in sentences)]
    return "\n".join(map(visible, lines))

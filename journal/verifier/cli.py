"""`journal-verify`: the auditor's command. Offline; it reads the files given, in place, and writes none unasked."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from journal.core.errors import RewrittenError, VerificationError
from journal.extract.known import read_known
from journal.extract.receipt_verdicts import summary
from journal.extract.report import VERIFIED
from journal.extract.verify import verify_extract
from journal.pki import certificates
from journal.verifier.arguments import lang_of, make_parser
from journal.verifier.files import NotRunError, Progress, complain, opened, read_pem, tell
from journal.verifier.processes import spread
from journal.verifier.receipts import judge_by_seals, read_all, unanswered, worst
from journal.verifier.repair import repair
from journal.verifier.text import Text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from journal.extract.known import Known
    from journal.extract.receipt_verdicts import Judged
    from journal.extract.receipts import CheckedReceipts
    from journal.extract.report import Report

EXIT_VERIFIED, EXIT_WRONG, EXIT_NOT_RUN = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify as the arguments say (`sys.argv` by default) and return the exit status.

    The result goes to standard output, everything else to standard error. argparse raises SystemExit for wrong
    arguments (2) and for --help (0).
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = make_parser(lang_of(given)).parse_args(given)
    said = Text(options.lang)
    try:
        return _run(options, said)
    except NotRunError as error:
        complain(said.about(error.path, error.reason))
    except OSError as error:
        complain(said.say(str(error)))
    except KeyboardInterrupt:
        complain(said.say("interrupted: nothing is verified"))
    except Exception as error:  # noqa: BLE001  (uncaught, it would end with status 1, which blames the extract)
        complain(said.say(f"the verifier failed, which says nothing about the extract: {error!r:.200}"))
    return EXIT_NOT_RUN


def _run(options: argparse.Namespace, said: Text) -> int:
    """Verify and print the result."""
    anchors = _read_anchors(options.trust)
    receipts, judged = read_all(options.receipt, anchors)
    try:
        if options.file is None:
            report, found = None, _judge(options, receipts)
        else:
            report = _verify_or_repair(options, receipts, said)
            found = list(report.receipts)
    except VerificationError as error:
        return EXIT_WRONG if tell(_refusal(error, said, as_json=options.json)) else EXIT_NOT_RUN
    judged += found
    bad = worst(judged)
    unclear = [*(report.unanswered if report else ()), *unanswered(judged)]
    if not tell(_as_json(report, judged, bad) if options.json else said.result(report, judged, bad)):
        return EXIT_NOT_RUN
    for sentence in unclear:
        complain(said.say(f"not checked: {sentence}"))
    if bad:
        return EXIT_WRONG
    return EXIT_NOT_RUN if unclear else EXIT_VERIFIED


def _judge(options: argparse.Namespace, receipts: list[CheckedReceipts]) -> list[Judged]:
    """Judge receipts without an extract."""
    if not options.receipt or options.repair is not None:
        raise NotRunError("an extract is needed, unless receipts are given")
    return judge_by_seals(receipts, _read_known(options), _read_anchors(options.trust), _read_tsa_anchors(options))


def _verify_or_repair(options: argparse.Namespace, receipts: list[CheckedReceipts], said: Text) -> Report:
    try:
        return _verify(options, options.file, receipts)
    except RewrittenError:
        if options.repair is None:
            raise
        repair(options.file, options.repair)
        report = _verify(options, options.repair, receipts)
        complain(said.say(f"{options.repair} was written, and is what was verified"))
        return report


def _verify(options: argparse.Namespace, path: Path, receipts: list[CheckedReceipts]) -> Report:
    tsa_anchors = _read_tsa_anchors(options)
    known = _read_known(options)
    progress = Progress()
    with opened(path) as file:
        try:
            report = verify_extract(
                file,
                anchors=_read_anchors(options.trust),
                tsa_anchors=tsa_anchors,
                known=known,
                receipts=receipts,
                progress=progress,
                run=None if options.strict else spread,
            )
        finally:
            progress.wipe()
    if tsa_anchors is None or any(checked.timestamp for checked in report.seals):
        return report
    return replace(report, unanswered=(*report.unanswered, "--tsa-trust: no time-stamp was found"))


def _read_known(options: argparse.Namespace) -> list[Known]:
    known = []
    for kept in options.known_seal:
        with opened(kept) as file:
            known.append(read_known(file, kept.name))
    return known


def _read_tsa_anchors(options: argparse.Namespace) -> list[bytes] | None:
    return None if options.tsa_trust is None else _read_anchors(options.tsa_trust)


def _read_anchors(path: Path) -> list[bytes]:
    try:
        anchors = certificates.pem_to_der(read_pem(path))
        for anchor in anchors:
            certificates.parse(anchor)
    except VerificationError as error:
        raise NotRunError(str(error), path) from error
    return anchors


def _as_json(report: Report | None, judged: list[Judged], bad: Judged | None) -> str:
    listed = {"receipts": [one.as_json() for one in judged]} if judged else {}
    if bad is not None:
        value = {"verdict": bad.verdict, "sentence": f"{bad.verdict}: {bad.reason}", "part": bad.name}
        return _dump({"verified": False, **value, "reason": bad.reason, **listed})
    if report is None:
        value = {"verdict": VERIFIED, "sentence": summary(judged)}
        return _dump({"verified": True, **value, "unanswered": unanswered(judged), **listed})
    value = report.as_json()
    return _dump({"verified": True, **value, "unanswered": [*value["unanswered"], *unanswered(judged)], **listed})


def _refusal(error: VerificationError, text: Text, *, as_json: bool) -> str:
    if as_json:
        value = {"verdict": error.verdict, "sentence": f"{error.verdict}: {error}"}
        return _dump({"verified": False, **value, "part": error.part, "reason": error.reason})
    return text.refusal(error)


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=True, indent=2)

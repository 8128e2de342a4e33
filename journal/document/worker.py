"""The process that makes one document: typst lays it out, and the signer signs it through the service (PAdES).

A separate process, because a long table takes hundreds of megabytes, which its end releases, and because neither
library should run near the keys. Frames on standard input and output: the request in, the bytes that the signature
covers and its signed attributes out, their signature in, the document out.
"""

from __future__ import annotations

import gc
import json
import os
import re
import resource
import select
import signal
import socket
import sys
import threading
from base64 import b64decode
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from importlib import resources
from io import BytesIO
from typing import TYPE_CHECKING, Any, NoReturn

import typst
from asn1crypto import x509
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import fields, signers
from pyhanko.stamp import StaticStampStyle
from pyhanko_certvalidator.registry import SimpleCertificateStore

from journal.document.render import frame, read_frame

if TYPE_CHECKING:
    from pyhanko.pdf_utils.reader import PdfFileReader

MEMORY_BYTES = 4 * 1024**3
FIELD = "Signature"
DIGEST = "sha256"
# What a signature takes besides its certificates; two hexadecimal digits a byte, the rest of them zeros.
SIGNATURE_BYTES = 4 * 1024
DIGITS = 2
IDENTIFIER_BYTES = 16
A4_HEIGHT = 297 / 25.4 * 72  # points
# Those of typst alone; read once, before makers are forked.
FONTS = typst.Fonts(include_system_fonts=False)


def fork_makers() -> None:
    """Fork a maker for each socket that standard input gives, until the service ends or closes it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the service has it too, and may end what it is at
    signal.signal(signal.SIGCHLD, _forget_ended)
    gc.freeze()
    with socket.socket(fileno=sys.stdin.fileno()) as control:
        while (given := socket.recv_fds(control, 1, 1))[0]:
            (maker,) = given[1]
            if os.fork() == 0:
                _become(maker)
            os.close(maker)


def _forget_ended(*_: object) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _become(descriptor: int) -> NoReturn:
    """Be a maker, with this socket as standard input and output."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(descriptor, sys.stdin.fileno())
        os.dup2(descriptor, sys.stdout.fileno())
        # uvloop leaves a second descriptor of the socket that gives makers: held here, it would seem to be read still.
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        main()
        status = 0
    finally:
        os._exit(status)


def main() -> None:
    """Make the document. Equal requests give equal bytes, except for the signature: fonts and time are fixed."""
    threading.Thread(target=_end_with_service, daemon=True).start()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    request = json.loads(read_frame(sys.stdin.buffer))
    made_at = datetime.fromtimestamp(request["made_at"], UTC)
    laid_out, place = _lay_out(request, made_at)
    certificates = [x509.Certificate.load(b64decode(certificate)) for certificate in request["certificates"]]
    metadata = signers.PdfSignatureMetadata(
        field_name=FIELD,
        md_algorithm=DIGEST,
        subfilter=fields.SigSeedSubFilter.PADES,
        reason=request["reason"],
        name=request["content"]["service"],
    )
    _send(_sign(laid_out, certificates, metadata, made_at, place))


def _end_with_service() -> None:
    """End this process as soon as nobody is at the other end of standard input."""
    poll = select.poll()
    poll.register(sys.stdin.fileno(), select.POLLRDHUP)
    poll.poll()
    os._exit(1)


def _lay_out(request: dict[str, Any], made_at: datetime) -> tuple[bytes, fields.SigFieldSpec | None]:
    """Return the pages, and where the signature is seen; None where it is not."""
    template = resources.files("journal.document").joinpath(f"{request['template']}.typ")
    with resources.as_file(template) as path:
        compiler = typst.Compiler(
            path,
            root=path.parent,
            font_paths=FONTS,
            ignore_system_fonts=True,
            sys_inputs={"data": json.dumps(request["content"], ensure_ascii=False)},
        )
        document = compiler.compile(pdf_standards=request["standards"], timestamp=made_at)
        assert isinstance(document, bytes)  # one PDF, not a picture for each page
        place = json.loads(compiler.query("<signature>", field="value", one=True)) if request["has_block"] else None
    return document, _field(place) if place is not None else None


def _field(place: dict[str, float]) -> fields.SigFieldSpec:
    """Return the field of a signature over a place, which is told in points from the top left of its page."""
    left, bottom = place["left"], A4_HEIGHT - place["top"] - place["height"]
    box = (int(left), int(bottom), int(left + place["width"]), int(bottom + place["height"]))
    return fields.SigFieldSpec(
        FIELD, on_page=int(place["page"]) - 1, box=box, readable_field_name="Signature électronique"
    )


def _sign(
    document: bytes,
    certificates: list[x509.Certificate],
    metadata: signers.PdfSignatureMetadata,
    at: datetime,
    place: fields.SigFieldSpec | None,
) -> bytes:
    """Sign in an incremental update (ETSI EN 319 142-1, PAdES-B-B), over a place that shows it, or invisibly."""
    output = BytesIO()
    signer = _PdfSigner(metadata, _Signer(certificates, output), at, place)
    reserved = DIGITS * (SIGNATURE_BYTES + sum(len(certificate.dump()) for certificate in certificates))
    signer.sign_pdf(_Writer(BytesIO(document)), bytes_reserved=reserved, output=output)
    return output.getvalue()


def _send(content: bytes) -> None:
    sys.stdout.buffer.write(frame(content))
    sys.stdout.buffer.flush()


class _Writer(IncrementalPdfFileWriter):
    """A writer without clock and randomness, so that two updates differ only in the signature."""

    def _update_meta(self) -> None:
        """Keep the times of the layout; pyHanko would write the present time."""

    @classmethod
    def _handle_id(cls, prev: PdfFileReader) -> generic.ArrayObject:
        """Keep the first identifier and derive the second from the document; pyHanko would draw it at random."""
        prev.stream.seek(0)
        second = sha256(prev.stream.read()).digest()[:IDENTIFIER_BYTES]
        return generic.ArrayObject([prev.trailer["/ID"][0], generic.ByteStringObject(second)])


class _PdfSigner(signers.PdfSigner):
    """A PDF signer with a given time; what is seen of the signature is on the page already."""

    def __init__(
        self,
        metadata: signers.PdfSignatureMetadata,
        signer: signers.Signer,
        at: datetime,
        place: fields.SigFieldSpec | None,
    ) -> None:
        super().__init__(metadata, signer, stamp_style=StaticStampStyle(border_width=0), new_field_spec=place)
        self._at = at

    def init_signing_session(self, *arguments: Any, **named: Any) -> Any:
        session = super().init_signing_session(*arguments, **named)
        session.system_time = self._at
        return session


class _Signer(signers.Signer):
    """The service's identity for pyHanko; its key stays with the signer.

    The signer is given the bytes that the signature covers too, and signs for nothing but a document.
    """

    def __init__(self, certificates: list[x509.Certificate], output: BytesIO) -> None:
        store = SimpleCertificateStore()  # type: ignore[no-untyped-call] # pyHanko leaves it without types
        store.register_multiple(certificates[1:])
        self._output = output
        super().__init__(signing_cert=certificates[0], cert_registry=store, embed_roots=False)

    async def async_sign_raw(
        self,
        data: bytes,
        digest_algorithm: str,
        dry_run: bool = False,  # noqa: FBT001, FBT002 - pyHanko's own signature
    ) -> bytes:
        """Get a signature with SHA-256 from the service."""
        # Its size is reserved, so nothing is signed for trial.
        if digest_algorithm != DIGEST or dry_run:
            raise ValueError(digest_algorithm)
        _send(_covered(self._output.getvalue()))
        _send(data)
        return read_frame(sys.stdin.buffer)


def _covered(document: bytes) -> bytes:
    """Return the bytes that the one signature covers: its byte range is filled in already (ISO 32000-1, 12.8.1)."""
    (found,) = re.findall(rb"/ByteRange \[ ?(\d+) (\d+) (\d+) (\d+)", document)
    first, size, second, rest = map(int, found)
    return document[first : first + size] + document[second : second + rest]


if __name__ == "__main__":
    fork_makers()

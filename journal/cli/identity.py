"""`identity`: the signing key and its certificate, from a development root or from a real authority."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from journal.cli.commands import check_free
from journal.clock import SystemClock
from journal.core.errors import OperatorError
from journal.keys.files import appear_whole
from journal.seals.dev_authority import make_development_authority
from journal.seals.renewal import Paths, Subject, check_vouched, install, make_request, next_key_path
from journal.signer import identity as signing

if TYPE_CHECKING:
    import argparse

    from journal.pki.trust import Anchor
    from journal.settings import Settings
    from journal.signer.identity import SigningIdentity


async def new(settings: Settings, _: argparse.Namespace) -> int:
    """Make a development root and a signing identity, for trials; nothing changes if there is a signing key."""
    made = make_development_authority(
        settings.signing_key_path.parent, _service(settings), SystemClock().now(), trust_path=settings.trust_path
    )
    if not made:
        print(f"there is a signing key in {settings.signing_key_path}: it stays")
        return 0
    identity = _load(settings)
    _tell(identity)
    _tell_anchor(check_vouched(identity, settings.trust_path, SystemClock().now()))
    print("this root is of no authority: whoever receives an extract has only this host's word for it")
    return 0


async def request(settings: Settings, arguments: argparse.Namespace) -> int:
    """Write a request for a certificate of a real authority; its key waits until the certificate is installed."""
    output = Path(arguments.output)
    check_free(output, "-o", "a request")
    subject = Subject(
        organisation=arguments.organisation, country=arguments.country, identifier=arguments.organisation_identifier
    )
    key_path = settings.signing_key_path
    pem = make_request(key_path, subject, kind=arguments.key, same_key=arguments.same_key)
    with appear_whole(output.absolute()) as file:
        file.write(pem)
    kept = "the present key" if arguments.same_key else f"the key in {next_key_path(key_path)}"
    print(f"{output}: a request for {kept}; send it to the authority, then:")
    print("openepm-journal identity install --certificate CHAIN.pem --trust ROOT.pem")
    return 0


async def install_certificate(settings: Settings, arguments: argparse.Namespace) -> int:
    """Check an authority's certificate and put it in place; the signer signs with it from its next start."""
    identity = install(
        _paths(settings),
        Path(arguments.certificate).read_bytes(),
        Path(arguments.trust).read_bytes(),
        _service(settings),
        SystemClock().now(),
    )
    _tell(identity)
    _tell_anchor(check_vouched(identity, settings.trust_path, SystemClock().now()))
    print("it is used from the next start: systemctl restart openepm-journal-signer openepm-journal")
    return 0


async def show(settings: Settings, _: argparse.Namespace) -> int:
    """Show the present identity. Raises OperatorError if the trust anchors do not vouch for it now."""
    identity = _load(settings)
    _tell(identity)
    if next_key_path(settings.signing_key_path).exists():
        print("a certificate has been requested for the next key, and is not installed yet")
    _tell_anchor(check_vouched(identity, settings.trust_path, SystemClock().now()))
    return 0


def _paths(settings: Settings) -> Paths:
    return Paths(key=settings.signing_key_path, certificate=settings.signing_cert_path, trust=settings.trust_path)


def _load(settings: Settings) -> SigningIdentity:
    return signing.load(settings.signing_key_path, settings.signing_cert_path, settings.service_name)


def _service(settings: Settings) -> str:
    if settings.service_name is None:
        raise OperatorError("the certificate names the service: set JOURNAL_SERVICE_NAME first")
    return settings.service_name


def _tell(identity: SigningIdentity) -> None:
    days = (identity.not_after - SystemClock().now()).days
    print(f"{identity.service} signs as {identity.subject}, until {identity.not_after:%Y-%m-%d} ({days} days)")
    if not identity.names_service:
        print(f"it is the seal of {identity.organisation}, which verifiers show")


def _tell_anchor(anchor: Anchor) -> None:
    """Print what auditors compare: by telephone, or on paper."""
    print(f"vouched for by {anchor.subject}, SHA-256 {anchor.sha256.hex()}")
    if anchor.is_development:
        print("that is a DEVELOPMENT authority, made by this installation: both verifiers say that it is for trials")

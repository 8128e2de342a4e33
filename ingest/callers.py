"""Who is at the other end of a connection, if a reverse proxy stands between: address and client certificate.

Any caller may write `X-Forwarded-For` and `Client-Cert`. They are read only on connections from the proxies that
`trusted_proxies` names, which must replace what their own callers sent.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import ssl
from typing import TYPE_CHECKING
from urllib.parse import unquote

from aiohttp import hdrs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp import web

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# RFC 9440 section 2.2: the certificate's DER as a byte sequence, `:base64:`. nginx can only send its PEM, URL-encoded.
CLIENT_CERTIFICATE = "Client-Cert"


class Proxies:
    """The reverse proxies whose word is taken."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Trust these addresses and networks."""
        self._networks = [ipaddress.ip_network(network) for network in networks]

    def trusts(self, address: str | None) -> bool:
        """Tell whether a connection from this address is a proxy's."""
        parsed = _parse(address or "")
        return parsed is not None and self._has(parsed)

    def passed_on(self, request: web.Request) -> bool:
        """Tell whether a proxy passed the request on: it comes from outside."""
        return bool(self._networks) and hdrs.X_FORWARDED_FOR in request.headers and self.trusts(request.remote)

    def address(self, request: web.Request) -> str:
        """Return the caller's network, see `network`.

        Each proxy appends the address it was called from, so the caller is the last one that is not a proxy itself.
        """
        caller = _parse(request.remote or "")
        hops = ",".join(request.headers.getall(hdrs.X_FORWARDED_FOR, [])).split(",")
        while caller is not None and self._has(caller) and hops:
            before = _parse(hops.pop().strip())
            if before is None:
                break
            caller = before
        return network(caller)

    def certificate_sha256(self, request: web.Request) -> bytes | None:
        """Return the SHA-256 of the DER of the certificate whose key the caller has proved to a proxy, or None."""
        given = request.headers.getall(CLIENT_CERTIFICATE, [])
        if len(given) != 1 or not self.trusts(request.remote):
            return None
        try:
            if given[0].startswith(":"):
                der = base64.b64decode(given[0].strip(":"), validate=True)
            else:
                der = ssl.PEM_cert_to_DER_cert(unquote(given[0]))
        except ValueError:
            return None
        # Caddy sends `::` for a caller without a certificate.
        return hashlib.sha256(der).digest() if der else None

    def _has(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def network(address: Address | str | None) -> str:
    """Return the address, or of an IPv6 address its first 64 bits, which one subscriber has; empty for a socket."""
    parsed = _parse(address) if isinstance(address, str) else address
    if isinstance(parsed, ipaddress.IPv6Address):
        return parsed.packed[:8].hex()
    return str(parsed or "")


def _parse(text: str) -> Address | None:
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed

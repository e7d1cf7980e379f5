"""TLS of the listener and to peers: certificates and authorities as PEM files, and what failed at a peer's."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from cxrcad.core import UsageError

__all__ = ["client_context", "reason_of", "remember_faults", "server_context"]


def server_context(authority: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """What the listener shows, and whose certificates it demands; None without TLS. UsageError."""
    if certificate is None:
        for option, path in (("--tls-key", key), ("--tls-ca", authority)):
            if path is not None:
                raise UsageError(f"{option} {path}: needs the listener's certificate too; name it with --tls-cert")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return _loaded(context, "--tls", authority, certificate, key)


def client_context(authority: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Who vouches for the peer, and what is shown to it; None without TLS. UsageError."""
    if certificate is None and key is not None:
        raise UsageError(f"--send-tls-key {key}: needs its certificate too; name it with --send-tls-cert")
    if authority is None:
        if certificate is not None:
            remedy = "name it with --send-tls-ca"
            raise UsageError(f"--send-tls-cert {certificate}: needs the authority of the peer too; {remedy}")
        return None
    return _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "--send-tls", authority, certificate, key)


def _loaded(
    context: ssl.SSLContext, option: str, authority: Path | None, certificate: Path | None, key: Path | None
) -> ssl.SSLContext:
    """The context with these files."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        named, what = f"{option}-ca {authority}", "no certificate of an authority in PEM"
        if authority is not None:
            context.load_verify_locations(authority)
        named = f"{option}-cert {certificate}" + (f" {option}-key {key}" if key else "")
        what = "no certificate with its key in PEM"
        if certificate is not None:
            context.load_cert_chain(certificate, key, password=lambda: "")  # else it would ask at the terminal
    except (OSError, ValueError) as error:
        raise UsageError(f"{named}: {what} ({reason_of(error)}); check the file") from None
    return context


def remember_faults(context: ssl.SSLContext, faults: list[str]) -> None:
    """Have `faults` told why beginning TLS failed: pynetdicom keeps it to itself."""

    class Socket(ssl.SSLSocket):
        def do_handshake(self, *given: Any, **named: Any) -> None:
            try:
                super().do_handshake(*given, **named)
            except OSError as error:
                faults.append(reason_of(error))
                self.close()
                raise

    context.sslsocket_class = Socket


def reason_of(error: Exception) -> str:
    """OpenSSL's or the system's own words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error)

"""TLS contexts for both sides: TLS 1.2 or newer, forward-secret AEAD suites, names verified.

Contexts are never changed once they are in use. A reload builds new ones from the files and swaps them only
when all that it reads is well: connections that are open keep theirs, so nothing is dropped. A certificate
out of its time is not well, because no peer accepts it.
"""

import os
import ssl
import stat
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from sealwire.crypto import x509
from sealwire.proxy.server.config.settings import ListenTls, TlsMode, UpstreamTls
from sealwire.proxy.server.errors import FileProblem, PermissionProblem, StartReason

# TLS 1.2: ephemeral ECDH with AES-GCM or ChaCha20-Poly1305 only (RFC 9325 section 4.2). Every suite of
# TLS 1.3 has both properties, so OpenSSL's own list for it stays.
TLS12_SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK"

# Certificates that live 90 days are usually renewed 30 days before their end: by now that has failed.
EXPIRY_WARNING = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class TlsSide:
    """The context for one side (None in plaintext mode) and what is known of its certificate."""

    context: ssl.SSLContext | None
    not_after: datetime | None = None
    names: tuple[str, ...] = ()
    """The hosts that its certificate is for."""
    warning: str = ""
    """A certificate that is near its end; empty otherwise."""
    authority_warning: str = ""
    """An authority that counts no more, or authorities that are all near their end; empty otherwise."""


NO_TLS: Final = TlsSide(None)


def listen_side(settings: ListenTls) -> TlsSide:
    """The context that clients meet. Raises FileProblem, PermissionProblem."""
    if settings.mode is TlsMode.PLAINTEXT:
        return NO_TLS
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context, settings.minimum)
    authorities = ""
    if settings.client_ca is not None:
        authorities = _valid_authorities(_load_authorities(context, settings.client_ca), settings.client_ca)
        required = settings.require_client_certificate
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    side = _with_certificate(context, settings.certificate, settings.key)
    return replace(side, authority_warning=authorities)


def upstream_side(settings: UpstreamTls) -> TlsSide:
    """The context for connections to the server. Raises FileProblem, PermissionProblem."""
    if settings.mode is TlsMode.PLAINTEXT:
        return NO_TLS
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and host name
    _harden(context, settings.minimum)
    authorities = ""
    if settings.ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        authorities = _valid_authorities(_load_authorities(context, settings.ca), settings.ca)
    side = _with_certificate(context, settings.certificate, settings.key)
    return replace(side, authority_warning=authorities)


def pinned_context(certificate: Path) -> ssl.SSLContext:
    """For a client that knows the certificate of the one server it asks.

    Raises FileProblem, PermissionProblem. The name in it is not looked at: a probe asks by address.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    _harden(context, ssl.TLSVersion.TLSv1_2)
    # a certificate that is trusted itself need not be an authority's
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    _load_authorities(context, certificate)
    return context


def _harden(context: ssl.SSLContext, minimum: ssl.TLSVersion) -> None:
    context.minimum_version = minimum
    context.set_ciphers(TLS12_SUITES)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE


def _with_certificate(context: ssl.SSLContext, certificate: Path | None, key: Path | None) -> TlsSide:
    if certificate is None:
        return TlsSide(context)
    key = key if key is not None else certificate
    pem = _read(certificate)
    _check_private(key)
    try:
        validity, names = x509.certificate_validity(pem), x509.certificate_names(pem)
    except x509.InvalidCertificate:
        raise _bad_pem(certificate, "certificate") from None
    try:
        context.load_cert_chain(certificate, key, password=_refuse_password)
    except _EncryptedKey:
        raise FileProblem(
            StartReason.KEY_ENCRYPTED,
            f"{key}: the private key is protected by a passphrase",
            "store it without one, mode 0600; the proxy starts unattended",
        ) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise FileProblem(
                StartReason.KEY_MISMATCH,
                f"{key}: the private key does not belong to the certificate {certificate}",
                "compare `openssl x509 -noout -pubkey` with `openssl pkey -pubout`",
            ) from None
        raise _bad_pem(key, "private key") from None
    now = datetime.now(UTC)
    _require_valid(validity, certificate, now)
    warning = "the certificate expires soon" if validity.not_after - now < EXPIRY_WARNING else ""
    return TlsSide(context, validity.not_after, names, warning)


def _require_valid(validity: x509.Validity, path: Path, now: datetime) -> None:
    """Raises FileProblem."""
    if validity.not_after < now:
        raise FileProblem(
            StartReason.CERTIFICATE_EXPIRED,
            f"{path}: the certificate has expired: its last moment was {validity.not_after.isoformat()}",
            "put a renewed one in its place; a proxy that runs keeps what it has until a reload succeeds",
        )
    if validity.not_before > now:
        raise FileProblem(
            StartReason.CERTIFICATE_NOT_YET_VALID,
            f"{path}: the certificate is not valid before {validity.not_before.isoformat()}",
            "look at the clock of this host; else keep the certificate of before until then",
        )


def _valid_authorities(pem: bytes, path: Path) -> str:
    """The warning about a file of authorities. Raises FileProblem if none of them is valid now.

    One that has expired is no error while others are valid: bundles keep old ones beside the new.
    """
    now = datetime.now(UTC)
    found = x509.bundle_validities(pem)
    valid = [each for each in found if each.not_before <= now <= each.not_after]
    if not found:  # a form that is not known here: OpenSSL has read it
        return ""
    if not valid:
        _require_valid(max(found, key=lambda each: each.not_after), path, now)
    if any(each.not_after < now for each in found):
        return "an authority has expired"
    soon = all(each.not_after - now < EXPIRY_WARNING for each in valid)
    return "the authorities expire soon" if soon else ""


def _load_authorities(context: ssl.SSLContext, path: Path) -> bytes:
    pem = _read(path)
    try:
        # Bundles carry names in UTF-8 as comments, which OpenSSL's text interface does not take.
        context.load_verify_locations(cadata=pem.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):  # ValueError: an empty file
        raise _bad_pem(path, "certificate authority") from None
    return pem


def _bad_pem(path: Path, what: str) -> FileProblem:
    return FileProblem(
        StartReason.BAD_PEM, f"{path}: no {what} in PEM form", "look at it with `openssl x509 -in FILE -text`"
    )


class _EncryptedKey(Exception):
    """OpenSSL asked for a passphrase."""


def _refuse_password() -> bytes:
    # Without this callback OpenSSL would prompt on the terminal and the start would hang.
    raise _EncryptedKey


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except PermissionError:
        raise PermissionProblem(
            StartReason.FILE_FORBIDDEN, f"{path}: permission denied", f"let uid {os.geteuid()} read it"
        ) from None
    except OSError:
        raise FileProblem(
            StartReason.FILE_MISSING, f"{path}: no such file", "correct the path in the configuration"
        ) from None


def _check_private(path: Path) -> None:
    """Refuse a private key that others may read.

    One exception, the one PostgreSQL makes: a file of root's that the group may read (0640), while the proxy
    runs as somebody else. Kubernetes and Debian's ssl-cert hand out keys that way.
    """
    _read(path)
    status = path.stat()
    shared_by_root = status.st_uid == 0 and os.geteuid() != 0
    allowed = stat.S_IRWXU | (stat.S_IRGRP if shared_by_root else 0)
    if stat.S_IMODE(status.st_mode) & ~allowed:
        raise PermissionProblem(
            StartReason.KEY_EXPOSED, f"{path}: others may read this private key", f"chmod 600 {path}"
        )

"""Loads what `upstream.identities` names: passwords, and the certificates that the proxy shows for clients.

Loaded at the start and at each reload, all or nothing. What is loaded counts for logins and connections from
then on; who is logged in stays it. Passwords are in no text and no repr.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from pymongo.saslprep import saslprep

from sealwire.crypto.x509 import InvalidCertificate, subject_of_pem
from sealwire.keys.errors import KeysError
from sealwire.keys.private_file import read_private
from sealwire.proxy.server.config.settings import Config, IdentitySettings
from sealwire.proxy.server.errors import FileProblem, StartReason
from sealwire.proxy.server.findings import Finding
from sealwire.proxy.server.tls import upstream_side
from sealwire.proxy.server.upstream import UpstreamWay
from sealwire.proxy.session.login.identities import (
    CertificateIdentity,
    Holder,
    Identities,
    ScramHash,
    ScramIdentity,
    ScramSecret,
    UpstreamIdentity,
)

_MAX_PASSWORD_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class LoadedIdentities:
    """By the certificates of clients."""

    identities: Identities = field(default_factory=dict)
    ways: Mapping[Holder, UpstreamWay] = field(default_factory=dict)
    """How the connection to the server is opened, where it shows a certificate of its own."""
    findings: tuple[Finding, ...] = ()
    """Certificates that are near their end."""


NO_LOADED_IDENTITIES: Final = LoadedIdentities()


def load_identities(config: Config, environ: Mapping[str, str] | None = None) -> LoadedIdentities:
    """Raises FileProblem, PermissionProblem. Blocks."""
    environ = os.environ if environ is None else environ
    identities: dict[Holder, UpstreamIdentity] = {}
    ways: dict[Holder, UpstreamWay] = {}
    found: list[Finding] = []
    for settings in config.identities:
        if settings.certificate is None:
            identities[settings.holder] = _user(settings, environ)
            continue
        tls = replace(config.upstream_tls, certificate=settings.certificate, key=settings.key)
        shown = upstream_side(tls)
        try:
            identity = CertificateIdentity(subject_of_pem(settings.certificate.read_bytes()))
        except (InvalidCertificate, OSError):  # it was read well a moment ago
            raise FileProblem(
                StartReason.BAD_PEM, f"{settings.certificate}: has changed while it was read", "try again"
            ) from None
        identities[settings.holder] = identity
        ways[settings.holder] = UpstreamWay(shown.context, identity)
        if shown.warning:
            fields = {"certificate": str(settings.certificate)}
            found.append(Finding(shown.warning, "it is one of `upstream.identities`", "renew it", fields))
    return LoadedIdentities(identities, ways, tuple(found))


def _user(settings: IdentitySettings, environ: Mapping[str, str]) -> ScramIdentity:
    place = settings.password_file or f"environment variable {settings.password_variable}"
    password = _password(settings, environ)
    prepared = b""
    try:
        if not password:
            pass
        elif settings.mechanism is ScramHash.SHA_256:
            prepared = saslprep(password).encode()
        else:
            # MongoDB's own: the mechanism takes a digest for the password
            digest = hashlib.md5(f"{settings.user}:mongo:{password}".encode(), usedforsecurity=False)
            prepared = digest.hexdigest().encode()
    except ValueError:  # an unassigned or forbidden character: it stays empty
        pass
    if not prepared:
        raise FileProblem(
            StartReason.PASSWORD_UNUSABLE,
            f"{place}: no password that a login could have",
            "put the user's password there, in UTF-8 and without anything else",
        )
    secret = ScramSecret(settings.mechanism, prepared)
    return ScramIdentity(settings.user, settings.database, secret)


def _password(settings: IdentitySettings, environ: Mapping[str, str]) -> str:
    """Empty where there is none, or where it is no text. Raises FileProblem."""
    if settings.password_file is None:
        return environ.get(settings.password_variable, "")
    try:
        content = _read(settings.password_file)
        return content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        return ""


def _read(path: Path) -> bytes:
    try:
        return read_private(path, _MAX_PASSWORD_BYTES)
    except KeysError as error:
        raise FileProblem(StartReason.FILE_FORBIDDEN, str(error), error.hint) from None

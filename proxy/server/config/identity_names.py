"""The list `upstream.identities`: as whom clients are logged in that have shown a certificate."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from sealwire.crypto.x509 import InvalidCertificate, read_subject
from sealwire.files.errors import Complaints
from sealwire.files.yaml_source import Node
from sealwire.proxy.server.config.settings import IdentitySettings, ListenTls, TlsMode, UpstreamTls
from sealwire.proxy.session.login.scram import ScramHash

_PASSWORDS: Final = ("password_file", "password_variable")
_OF_USERS: Final = ("database", "mechanism", *_PASSWORDS)


def read_identities(
    node: Node, path: Callable[[Node], Path], listen: ListenTls, upstream: UpstreamTls
) -> tuple[IdentitySettings, ...]:
    """Raises SourceError, with those of other identities."""
    if listen.client_ca is None:
        raise node.error("nobody's certificate would be verified", "set `listen.tls.client_ca`")
    found: list[IdentitySettings] = []
    complaints = Complaints()
    for item in node.items():
        with complaints.gathered():
            identity = _identity(item, path, upstream)
            if any(identity.holder == other.holder for other in found):
                raise item.error("two identities for one subject", "keep one of them, or add the `issuer`")
            found.append(identity)
    complaints.check()
    return tuple(found)


def _identity(node: Node, path: Callable[[Node], Path], upstream: UpstreamTls) -> IdentitySettings:
    entries = node.entries(("subject",), ("issuer", "user", *_OF_USERS, "certificate", "key"))
    subject = _name(entries, "subject")
    issuer = _name(entries, "issuer") if "issuer" in entries else ""
    if ("user" in entries) == ("certificate" in entries):
        raise node.error(
            "an identity is either a user or a certificate",
            "give `user` with its password, or `certificate` with `key`",
        )
    if "user" in entries:
        return replace(_user(node, entries, path, subject), issuer=issuer)
    _refuse(entries, _OF_USERS, "with `certificate`")
    if upstream.mode is not TlsMode.TLS:
        raise entries["certificate"].error("no certificate without TLS", "set `upstream.tls`, or name a user")
    key = path(entries["key"]) if "key" in entries else None
    return IdentitySettings(subject, certificate=path(entries["certificate"]), key=key, issuer=issuer)


def _name(entries: Mapping[str, Node], key: str) -> str:
    try:
        return read_subject(entries[key].text())
    except InvalidCertificate:
        raise entries[key].error(
            f"no {key} of a certificate", f"write it as `openssl x509 -noout -{key} -nameopt RFC2253` does"
        ) from None


def _user(
    node: Node, entries: Mapping[str, Node], path: Callable[[Node], Path], subject: str
) -> IdentitySettings:
    _refuse(entries, ("key",), "with `user`")
    given = [name for name in _PASSWORDS if name in entries]
    if len(given) != 1:
        raise node.error("a user needs one password", "give `password_file`, or `password_variable`")
    mechanism = ScramHash.SHA_256
    if "mechanism" in entries:
        mechanism = ScramHash(entries["mechanism"].choice([each.value for each in ScramHash]))
    return IdentitySettings(
        subject,
        user=entries["user"].text(),
        database=entries["database"].text() if "database" in entries else "admin",
        mechanism=mechanism,
        password_file=path(entries["password_file"]) if "password_file" in entries else None,
        password_variable=entries["password_variable"].text() if "password_variable" in entries else "",
    )


def _refuse(entries: Mapping[str, Node], names: tuple[str, ...], where: str) -> None:
    for name in names:
        if name in entries:
            raise entries[name].error(f"`{name}` means nothing {where}", "remove it")

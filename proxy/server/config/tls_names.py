"""The parts of the configuration that say how both sides use TLS: it is left out on purpose only."""

import ssl
from collections.abc import Mapping

from sealwire.files.yaml_source import Node
from sealwire.proxy.server.config.setting_names import ToPath, choice_of, refuse_leftovers
from sealwire.proxy.server.config.settings import ListenTls, TlsMode, UpstreamTls

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_PLAINTEXT_HINT = "add `tls:` with its files, or write `tls: {mode: plaintext}` to do without on purpose"


def read_listen_tls(section: Node, keys: Mapping[str, Node], path: ToPath) -> ListenTls:
    """`listen.tls`, of the section `listen` whose keys are `keys`. Raises SourceError."""
    known = ("certificate", "key", "client_ca", "require_client_certificate", "minimum")
    entries = _entries(section, keys, known)
    if entries is None:
        return ListenTls(TlsMode.PLAINTEXT)
    if "certificate" not in entries:
        raise keys["tls"].error("missing key 'certificate'", "clients need a certificate to verify")
    required = entries.get("require_client_certificate")
    is_required = required is not None and required.boolean()
    if required is not None and is_required and "client_ca" not in entries:
        raise required.error("client certificates need `client_ca`", "name the file of their authority")
    return ListenTls(
        TlsMode.TLS,
        certificate=path(entries["certificate"]),
        key=path(entries["key"]) if "key" in entries else None,
        client_ca=path(entries["client_ca"]) if "client_ca" in entries else None,
        require_client_certificate=is_required,
        minimum=_minimum(entries),
    )


def read_upstream_tls(section: Node, keys: Mapping[str, Node], path: ToPath) -> UpstreamTls:
    """`upstream.tls`, of the section `upstream` whose keys are `keys`. Raises SourceError."""
    known = ("ca", "certificate", "key", "server_name", "minimum")
    entries = _entries(section, keys, known)
    if entries is None:
        return UpstreamTls(TlsMode.PLAINTEXT)
    if "key" in entries and "certificate" not in entries:
        raise entries["key"].error("a key without a certificate", "add `certificate:`")
    return UpstreamTls(
        TlsMode.TLS,
        ca=path(entries["ca"]) if "ca" in entries else None,
        certificate=path(entries["certificate"]) if "certificate" in entries else None,
        key=path(entries["key"]) if "key" in entries else None,
        server_name=entries["server_name"].text() if "server_name" in entries else None,
        minimum=_minimum(entries),
    )


def _entries(section: Node, keys: Mapping[str, Node], known: tuple[str, ...]) -> Mapping[str, Node] | None:
    """What `tls` says, of what is `known` for this side; None where it is left out on purpose."""
    if "tls" not in keys:
        raise section.error("missing key 'tls'", _PLAINTEXT_HINT)
    entries = keys["tls"].entries((), ("mode", *known))
    if choice_of(entries, "mode", TlsMode.TLS) is TlsMode.PLAINTEXT:
        refuse_leftovers(entries, known, "with `mode: plaintext`")
        return None
    return entries


def _minimum(entries: Mapping[str, Node]) -> ssl.TLSVersion:
    return _VERSIONS[entries["minimum"].choice(list(_VERSIONS))] if "minimum" in entries else _VERSIONS["1.2"]

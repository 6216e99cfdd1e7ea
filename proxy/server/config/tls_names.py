"""The parts of the configuration that say how both sides use TLS: it is left out on purpose only."""

import ssl
from collections.abc import Mapping

from sealwire.files.errors import Complaints
from sealwire.files.yaml_source import Node
from sealwire.proxy.server.config.setting_names import ToPath, choice_of, optional_path, refuse_leftovers
from sealwire.proxy.server.config.settings import ListenTls, TlsMode, UpstreamTls

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_PLAINTEXT_HINT = "add `tls:` with its files, or write `tls: {mode: plaintext}` to do without on purpose"


def read_listen_tls(section: Node, keys: Mapping[str, Node], path: ToPath) -> ListenTls:
    """`listen.tls`, of the section `listen` whose keys are `keys`. Raises SourceError."""
    complaints = Complaints()
    known = ("certificate", "key", "client_ca", "require_client_certificate", "minimum")
    entries = _entries(section, keys, known, complaints)
    if entries is None:
        return ListenTls(TlsMode.PLAINTEXT)
    if "certificate" not in entries:
        hint = "clients need a certificate to verify"
        complaints.add(keys["tls"].error("missing key 'certificate'", hint))
    is_required = False
    if "require_client_certificate" in entries:
        required = entries["require_client_certificate"]
        is_required = complaints.read(required.boolean, otherwise=False)
        if is_required and "client_ca" not in entries:
            hint = "name the file of their authority"
            complaints.add(required.error("client certificates need `client_ca`", hint))
    found = ListenTls(
        TlsMode.TLS,
        certificate=optional_path(entries, "certificate", path, complaints),
        key=optional_path(entries, "key", path, complaints),
        client_ca=optional_path(entries, "client_ca", path, complaints),
        require_client_certificate=is_required,
        minimum=_minimum(entries, complaints),
    )
    complaints.check()
    return found


def read_upstream_tls(section: Node, keys: Mapping[str, Node], path: ToPath) -> UpstreamTls:
    """`upstream.tls`, of the section `upstream` whose keys are `keys`. Raises SourceError."""
    complaints = Complaints()
    known = ("ca", "certificate", "key", "server_name", "minimum")
    entries = _entries(section, keys, known, complaints)
    if entries is None:
        return UpstreamTls(TlsMode.PLAINTEXT)
    if "key" in entries and "certificate" not in entries:
        complaints.add(entries["key"].error("a key without a certificate", "add `certificate:`"))
    server_name = None
    if "server_name" in entries:
        server_name = complaints.read(entries["server_name"].text, None)
    found = UpstreamTls(
        TlsMode.TLS,
        ca=optional_path(entries, "ca", path, complaints),
        certificate=optional_path(entries, "certificate", path, complaints),
        key=optional_path(entries, "key", path, complaints),
        server_name=server_name,
        minimum=_minimum(entries, complaints),
    )
    complaints.check()
    return found


def _entries(
    section: Node, keys: Mapping[str, Node], known: tuple[str, ...], complaints: Complaints
) -> Mapping[str, Node] | None:
    """What `tls` says, of what is `known` for this side; None where it is left out on purpose.

    None means that all of it is right. Raises SourceError, where nothing else can be judged.
    """
    if "tls" not in keys:
        raise section.error("missing key 'tls'", _PLAINTEXT_HINT)
    entries = keys["tls"].entries((), ("mode", *known), complaints)
    mode = complaints.read(lambda: choice_of(entries, "mode", TlsMode.TLS), None)
    if mode is TlsMode.TLS:
        return entries
    if mode is TlsMode.PLAINTEXT:
        with complaints.gathered():
            refuse_leftovers(entries, known, "with `mode: plaintext`")
    complaints.check()
    return None


def _minimum(entries: Mapping[str, Node], complaints: Complaints) -> ssl.TLSVersion:
    if "minimum" not in entries:
        return _VERSIONS["1.2"]
    return complaints.read(
        lambda: _VERSIONS[entries["minimum"].choice(list(_VERSIONS))], ssl.TLSVersion.TLSv1_3
    )

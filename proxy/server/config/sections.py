"""The sections of the configuration: what a section says as a whole, beyond the value of each key.

`read_part` reads the keys of a section by the rows of `SETTINGS`. What goes together is judged here.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from sealwire.audit.files import LogPlace
from sealwire.audit.log import LogPace
from sealwire.crypto.host_names import is_this_machine
from sealwire.files.errors import Complaints
from sealwire.files.yaml_source import Node
from sealwire.keys.errors import KeySettingError
from sealwire.keys.kek import DEFAULT_VARIABLE
from sealwire.keys.keyring.store import VaultDocument
from sealwire.keys.providers import ProviderKind, ProviderSettings, parse_provider
from sealwire.keys.vault.settings import VaultSettings, vault_settings
from sealwire.proxy.server.config.rows import (
    SEVERAL,
    Address,
    Section,
    Setting,
    ToPath,
    admin_tls_part,
    read_address,
    read_rows,
)
from sealwire.proxy.server.config.seeds import address_of, read_seeds
from sealwire.proxy.server.config.settings import (
    KNOWN_VARIABLES,
    SETTINGS,
    CacheSettings,
    Compressed,
    Discovery,
    IdentitySettings,
    KeySettings,
    ListenTls,
    Member,
    PageSettings,
    TlsMode,
    UpstreamTls,
)
from sealwire.proxy.server.observability.audit_settings import AuditSettings
from sealwire.proxy.session.choices import ScramHash
from sealwire.wire.compressors import Compressor, Zlib, compressor_named

# A key service may be away for a day. A clinic must be able to read its records meanwhile.
_USUAL_REMOTE_AGE_S = 86_400.0

WILDCARD_HOSTS: Final = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound


def read_part(
    node: Node,
    name: str,
    path: ToPath,
    complaints: Complaints,
    required: Collection[str] = (),
    without: Collection[str] = (),
) -> Section:
    """As `read_rows`, by the rows of all settings but for the keys in `without`."""
    left_out = {f"{name}.{key}" for key in without}
    rows = {key: row for key, row in SETTINGS.items() if key not in left_out}
    return read_rows(rows, node, name, path, complaints, required)


def read_whole(root: Node, path: ToPath, complaints: Complaints) -> Section:
    """The sections of a file, and the settings outside of any. Raises SourceError: `root` is no mapping."""
    rows = {"members": Setting("members", SEVERAL), **SETTINGS}
    return read_rows(rows, root, "", path, complaints, ("listen", "upstream", "policy", "keyring", "kek"))


def _pick(values: Mapping[str, Any], kind: type[Any]) -> dict[str, Any]:
    """Those of `values` that are fields of the dataclass `kind`."""
    names = {field.name for field in fields(kind)}
    return {key: value for key, value in values.items() if key in names}


# The keys of a proxy that finds its servers by itself: `upstream.uri`, `listen.ports` and their like.


def read_discovery(listen: Section, upstream: Section, upstream_tls: UpstreamTls) -> Discovery:
    """What these sections say. Raises SourceError."""
    if not upstream.values.get("probe", True):
        node = upstream.nodes["probe"]
        raise node.error("servers are not found without asking them", "leave `probe` out")
    seeds = read_seeds(upstream.nodes["uri"], has_tls=upstream_tls.mode is TlsMode.TLS)
    host = _host(listen.nodes["address"])
    advertised = listen.nodes.get("advertise", listen.nodes["address"])
    if _host(advertised) in WILDCARD_HOSTS:
        hint = "set `advertise:` to the host that clients use"
        raise advertised.error("clients cannot connect to a wildcard address", hint)
    domains = upstream.nodes.get("domains")
    ports = listen.values["ports"]
    return Discovery(
        seeds,
        host,
        _host(advertised),
        ports.start,
        ports.stop - 1,
        ports_file=listen.values.get("ports_file"),
        domains=() if domains is None else tuple(map(_domain, domains.items())),
        **_pick(upstream.values, Discovery),
    )


def _domain(node: Node) -> str:
    """A domain, or a host, in lower case."""
    host = _host(node).lower()
    if host in WILDCARD_HOSTS:
        raise node.error("expected a domain", "write db.example.org, or the address of a host")
    return host


def _host(node: Node) -> str:
    """A host alone: the ports are those of the range."""
    text = node.text()
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if bare in WILDCARD_HOSTS:
        return bare
    address = address_of(f"[{bare}]:1" if ":" in bare else f"{bare}:1")
    if address is None:
        raise node.error("expected a host without a port", "the ports stand in listen.ports")
    return address.host


# What is compressed, and whether clients come by a load balancer.


def read_compressed(end: Section) -> Compressed:
    """What one end is offered: nothing, unless it is written out. Raises SourceError."""
    offer = Compressed(
        end.values.get("compression", ()), end.values.get("zlib_level", Compressed().zlib_level)
    )
    is_read = "compression" in end.values or "compression" not in end.nodes
    if "zlib_level" in end.values and is_read and Zlib.name not in offer.names:
        level = end.nodes["zlib_level"]
        raise level.error("nothing is compressed by zlib here", "add `compression: zlib`, or take this out")
    return offer


def compressors(offer: Compressed) -> tuple[Compressor, ...]:
    """What does the work. Their libraries are there: the reader has looked."""
    return tuple(compressor_named(name, offer.zlib_level) for name in offer.names)


# Who may see the page on the admin address, and how it is reached.
#
# The page shows how a site is protected and what is refused there, so nobody sees it without a token or a
# certificate. A token that crosses a network in clear is everybody's: without TLS it is for this machine
# only.


def read_admin_tls(node: Node | None, path: ToPath) -> ListenTls:
    """The section `admin.tls`; plaintext where there is none. Raises SourceError."""
    if node is None:
        return ListenTls(TlsMode.PLAINTEXT)
    return ListenTls(TlsMode.TLS, **admin_tls_part(node, path).values)


def read_page(node: Node | None, path: ToPath, address: Address, tls: ListenTls) -> PageSettings:
    """The section `admin.page`; a page that is off where there is none and no certificate counts.

    Raises SourceError: also for a token that would cross the network in clear, and for a page that nobody
    could open.
    """
    if node is None:
        return PageSettings()
    complaints = Complaints()
    part = read_part(node, "admin.page", path, complaints)
    token = part.nodes.get("token_file")
    if token is None and tls.client_ca is None:
        with complaints.gathered():
            refuse_leftovers(part.nodes, ("name", "watch"), "without `token_file` or `admin.tls.client_ca`")
    complaints.check()
    if token is not None and tls.mode is TlsMode.PLAINTEXT and not is_this_machine(address.host):
        raise token.error(
            "the token would cross the network in clear",
            "add `admin.tls:` with a certificate, or let admin.address be 127.0.0.1",
        )
    return PageSettings(**part.values)


# The list `upstream.identities`: as whom clients are logged in that have shown a certificate.

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
    # few configurations have identities, and the library of certificates takes 15 ms
    from sealwire.crypto.x509 import InvalidCertificate, read_subject  # noqa: PLC0415

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


# Who listens for whom: `listen`, `upstream` and `members`.

_FOLLOWED: Final = ("ports", "ports_file", "uri", "heartbeat_s", "domains")
"""Keys of a proxy that finds its servers."""


def read_sides(top: Section, path: ToPath, complaints: Complaints) -> tuple[Section, Section]:
    """The sections `listen` and `upstream`. With members, these hold only what the members share.

    What is missing or means nothing is kept in `complaints`.
    """

    def section(name: str, required: Collection[str], without: Collection[str]) -> Section:
        with complaints.gathered():
            if name in top.nodes:
                return read_part(top.nodes[name], name, path, complaints, required, without)
        return Section(name, {}, {})

    upstream = top.nodes.get("upstream")
    if "members" in top.nodes:
        without = ("address", "advertise", *_FOLLOWED)
        return section("listen", (), without), section("upstream", (), without)
    if upstream is not None and isinstance(upstream.value, Mapping) and "uri" in upstream.value:
        return section("listen", ("address", "ports"), ()), section("upstream", ("uri",), ("address",))
    return section("listen", ("address",), _FOLLOWED), section("upstream", ("address",), _FOLLOWED)


def read_members(top: Section, listen: Section, upstream: Section) -> tuple[Member, ...]:
    """The members that are listed; none where they are to be found, or a side has no address.

    Raises SourceError, with those of other members.
    """
    if "members" in top.nodes:
        return _members(top.nodes["members"])
    if "address" not in listen.nodes or "address" not in upstream.nodes:
        return ()
    return (_member(listen.nodes["address"], listen.nodes.get("advertise"), upstream.nodes["address"]),)


def _members(node: Node) -> tuple[Member, ...]:
    members: list[Member] = []
    complaints = Complaints()
    for item in node.items():
        with complaints.gathered():
            entry = item.entries(("listen", "upstream"), ("advertise",))
            member = _member(entry["listen"], entry.get("advertise"), entry["upstream"])
            for other in members:
                if member.advertise == other.advertise or member.upstream == other.upstream:
                    raise item.error("two members share an address", "each server has a listener of its own")
            members.append(member)
    complaints.check()
    if not members:
        raise node.error("no members", "list them, or use listen.address and upstream.address")
    return tuple(members)


def _member(listen: Node, advertise: Node | None, upstream: Node) -> Member:
    complaints = Complaints()
    addresses = [
        complaints.read(partial(read_address, node), Address("", 0))
        for node in (listen, advertise or listen, upstream)
    ]
    complaints.check()
    member = Member(*addresses)
    if member.advertise.host in WILDCARD_HOSTS:
        raise (advertise or listen).error(
            "clients cannot connect to a wildcard address",
            "set `advertise:` to the host and port that clients use",
        )
    return member


# How both sides use TLS: it is left out on purpose only.

_PLAINTEXT_HINT = "add `tls:` with its files, or write `tls: {mode: plaintext}` to do without on purpose"


def read_listen_tls(section: Node, end: Section, path: ToPath) -> ListenTls:
    """`listen.tls`, of the section `listen`. Raises SourceError."""
    complaints = Complaints()
    part = _tls_part(section, end, path, complaints)
    if part is None:
        return ListenTls(TlsMode.PLAINTEXT)
    if "certificate" not in part.nodes:
        hint = "clients need a certificate to verify"
        complaints.add(end.nodes["tls"].error("missing key 'certificate'", hint))
    if part.values.get("require_client_certificate") and "client_ca" not in part.nodes:
        required, hint = part.nodes["require_client_certificate"], "name the file of their authority"
        complaints.add(required.error("client certificates need `client_ca`", hint))
    complaints.check()
    return ListenTls(**{"mode": TlsMode.TLS, **part.values})


def read_upstream_tls(section: Node, end: Section, path: ToPath) -> UpstreamTls:
    """`upstream.tls`, of the section `upstream`. Raises SourceError."""
    complaints = Complaints()
    part = _tls_part(section, end, path, complaints)
    if part is None:
        return UpstreamTls(TlsMode.PLAINTEXT)
    if "key" in part.nodes and "certificate" not in part.nodes:
        complaints.add(part.nodes["key"].error("a key without a certificate", "add `certificate:`"))
    complaints.check()
    return UpstreamTls(**{"mode": TlsMode.TLS, **part.values})


def _tls_part(section: Node, end: Section, path: ToPath, complaints: Complaints) -> Section | None:
    """What `tls` says for this end; None where it is left out on purpose, and all of it is right.

    Raises SourceError, where nothing else can be judged.
    """
    if "tls" not in end.nodes:
        raise section.error("missing key 'tls'", _PLAINTEXT_HINT)
    part = read_part(end.nodes["tls"], f"{end.name}.tls", path, complaints)
    mode = part.values.get("mode")
    if mode is TlsMode.PLAINTEXT:
        with complaints.gathered():
            known = [key for key in part.nodes if key != "mode"]
            refuse_leftovers(part.nodes, known, "with `mode: plaintext`")
    if mode is TlsMode.PLAINTEXT or (mode is None and "mode" in part.nodes):
        complaints.check()
        return None
    return part


def read_audit(node: Node, path: ToPath) -> AuditSettings:
    """The section `audit`. Raises SourceError."""
    complaints = Complaints()
    part = read_part(node, "audit", path, complaints, required=("path",))
    if "key" not in part.nodes:
        with complaints.gathered():
            leftovers = ("checkpoints", "checkpoint_lines", "checkpoint_s")
            refuse_leftovers(part.nodes, leftovers, "without `key`")
    complaints.check()
    place = LogPlace(part.values["path"], part.values.get("checkpoints"))
    said = {"key": None, **_pick(part.values, AuditSettings)}
    return AuditSettings(place=place, pace=LogPace(**_pick(part.values, LogPace)), **said)


def read_kek(node: Node, path: ToPath) -> ProviderSettings:
    """The section `kek`. Raises SourceError."""
    every = tuple(dict.fromkeys(key for kind in ProviderKind for key in kind.keys))
    complaints = Complaints()
    entries = node.entries(("provider",), every, complaints)
    if "provider" not in entries:
        complaints.check()  # what else stands there has no meaning without it
    provider = entries["provider"]
    settings: ProviderSettings | None = None
    with complaints.gathered():
        if isinstance(provider.value, str) and ":" in provider.value:
            settings = _whole(provider, entries, path)
        else:
            words = {kind.word: kind for kind in ProviderKind}
            settings = _provider(words[provider.choice(tuple(words))], node, entries, path, complaints)
    complaints.check()
    return settings


def _whole(setting: Node, entries: Mapping[str, Node], path: ToPath) -> ProviderSettings:
    """A setting as commands have it, such as `vault:transit/NAME`; in the variable it stands for the section.

    Raises SourceError.
    """
    others = {key: each for key, each in entries.items() if each is not setting}
    if setting.filename in KNOWN_VARIABLES:
        others = {key: each for key, each in others.items() if each.filename in KNOWN_VARIABLES}
    kek = _parsed(setting, others.get("passphrase_file"), path)
    own = ("passphrase_file",) if kek.kind is ProviderKind.KEY_FILE else ()
    refuse_leftovers(others, tuple(key for key in others if key not in own), "where `provider` says it all")
    return kek


def _parsed(setting: Node, passphrase_file: Node | None, path: ToPath) -> ProviderSettings:
    """What `parse_provider` says, with absolute paths. Raises SourceError."""
    try:
        kek = parse_provider(setting.text(), None if passphrase_file is None else path(passphrase_file))
    except KeySettingError as error:
        raise setting.error(str(error), error.hint) from None
    if kek.kind is not ProviderKind.KEY_FILE:
        return kek
    return replace(kek, location=str(path(replace(setting, value=kek.location))))


def _provider(
    kind: ProviderKind, node: Node, entries: Mapping[str, Node], path: ToPath, complaints: Complaints
) -> ProviderSettings:
    """What its keys say of a provider. Raises SourceError at the first that is wrong."""
    with complaints.gathered():
        others = [key for key in entries if key not in ("provider", *kind.keys)]
        refuse_leftovers(entries, others, f"with `provider: {kind.word}`")
    if "variable" in kind.keys:
        return ProviderSettings(
            kind, entries["variable"].text() if "variable" in entries else DEFAULT_VARIABLE
        )
    if "path" in kind.keys:
        if "path" not in entries:
            raise node.error("missing key 'path'", "name the key file that `sealwire keys` made")
        passphrase_file = path(entries["passphrase_file"]) if "passphrase_file" in entries else None
        return ProviderSettings(kind, str(path(entries["path"])), passphrase_file)
    if "name" not in entries:
        raise node.error(
            "missing key 'name'", "name the key: in Vault's transit engine, in the cloud's service, by URI"
        )
    location = entries["name"].text()
    if "mount" in kind.keys:
        mount = entries["mount"].text().strip("/") if "mount" in entries else "transit"
        location = f"{mount}/{location}"
    return ProviderSettings(kind, location)


def read_keys(node: Node | None, path: ToPath, *, remote: bool) -> KeySettings:
    """The section `keys`; None where there is none. Raises SourceError.

    `remote`: the KEK or the keyring lies with a service. While one is away, or Vault as the store of
    context keys, keys have an age.
    """
    if node is None:
        return KeySettings(max_age_s=_USUAL_REMOTE_AGE_S if remote else None)
    complaints = Complaints()
    part = read_part(node, "keys", path, complaints)
    cache: CacheSettings | None = None
    with complaints.gathered():
        cache = _read_cache(part.nodes["cache"], path) if "cache" in part.nodes else None
    complaints.check()
    has_age = remote or isinstance(part.values.get("contexts"), VaultDocument)
    usual = {"max_age_s": _USUAL_REMOTE_AGE_S if has_age else None}
    return KeySettings(cache=cache, **{**usual, **part.values})


def _read_cache(node: Node, path: ToPath) -> CacheSettings:
    complaints = Complaints()
    part = read_part(node, "keys.cache", path, complaints, required=("path", "kek"))
    complaints.check()
    setting = part.nodes["kek"]
    kek = _parsed(setting, part.nodes.get("passphrase_file"), path)
    if kek.kind.is_remote:
        raise setting.error("a cache under a remote key is of no use", "write env:VARIABLE or file:PATH")
    return CacheSettings(kek=kek, **_pick(part.values, CacheSettings))


def read_vault(node: Node | None, path: ToPath, environ: Mapping[str, str], where: Node) -> VaultSettings:
    """The section `vault`, or what Vault's own variables say; without a section, errors point at `where`.

    Raises SourceError.
    """
    complaints = Complaints()
    said = {} if node is None else read_part(node, "vault", path, complaints).values
    complaints.check()
    options = {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in said.items()
    }
    try:
        return vault_settings(options, environ)
    except KeySettingError as error:
        raise (node or where).error(str(error), error.hint) from None


def refuse_leftovers(entries: Mapping[str, Node], keys: Collection[str], where: str) -> None:
    """Raises SourceError for each of `keys` that is there."""
    complaints = Complaints()
    for key in keys:
        if key in entries:
            complaints.add(entries[key].error(f"'{key}' has no meaning {where}", "remove one of the two"))
    complaints.check()

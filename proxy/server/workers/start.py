"""Everything that is read and checked before a socket is opened; `sealwire serve --check` stops after it."""

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from pymongo.saslprep import saslprep

from sealwire.crypto import selftest
from sealwire.crypto.x509 import InvalidCertificate, subject_of_pem
from sealwire.keys.errors import KekUnavailable, KeysError, UnknownKey
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.source import FirstKeyring, KeyringCache, KeyringSource
from sealwire.keys.keyring.store import Place
from sealwire.keys.private_file import read_private
from sealwire.keys.providers import Providers
from sealwire.policies.file.schema import Mode, PolicySet, covered_fields
from sealwire.proxy.server import errors
from sealwire.proxy.server.admin import AdminFiles, admin_files
from sealwire.proxy.server.config.policy_file import PolicyFile, read_policy
from sealwire.proxy.server.config.settings import Config, IdentitySettings, Member
from sealwire.proxy.server.context_feed import OpenContexts
from sealwire.proxy.server.discovery.view import unfit_of
from sealwire.proxy.server.findings import Finding, compare_access
from sealwire.proxy.server.frontiers.store import read_uri, unnamed
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.observability.traces import require_library
from sealwire.proxy.server.page.panels import WatchReader
from sealwire.proxy.server.probe import Hello, ask_hello
from sealwire.proxy.server.stored_plaintext import stored_findings
from sealwire.proxy.server.tls import NO_TLS, TlsSide, listen_side, upstream_side
from sealwire.proxy.server.upstream import Upstream, UpstreamWay, ways_of
from sealwire.proxy.session.choices import Holder, ScramHash
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.login.identities import (
    CertificateIdentity,
    Identities,
    ScramIdentity,
    ScramSecret,
    UpstreamIdentity,
)

_log = logging.getLogger("sealwire.server")

ReadConfig = Callable[[], Config]
"""The configuration as its file and the environment have it now. Blocks; raises as `load_config` does."""


# Loads what `upstream.identities` names: passwords, and the certificates that the proxy shows for
# clients.
#
# Loaded at the start and at each reload, all or nothing. What is loaded counts for logins and connections
# from then on; who is logged in stays it. Passwords are in no text and no repr.

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
            raise errors.FileProblem(
                errors.StartReason.BAD_PEM,
                f"{settings.certificate}: has changed while it was read",
                "try again",
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
        raise errors.FileProblem(
            errors.StartReason.PASSWORD_UNUSABLE,
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
        return read_private(settings.password_file, _MAX_PASSWORD_BYTES).decode().rstrip("\r\n")
    except KeysError as error:
        raise errors.FileProblem(errors.StartReason.FILE_FORBIDDEN, str(error), error.hint) from None
    except UnicodeDecodeError:
        return ""


# Which address stands for which: what the servers call themselves, and what clients are told instead.
#
# A member that drivers would be told of without a listener here could be reached only around the proxy:
# they would connect to it directly and read and write ciphertext and plaintext side by side. So the proxy
# does not start.


def topologies(members: Sequence[Member], hellos: Sequence[Hello]) -> list[Topology]:
    """What the sessions of each member's listener tell drivers, in order. Raises TopologyProblem.

    One upstream and one host in its set are the same server, whatever that calls itself: a container names
    itself by its own host name, which need not be the one we connect to.
    """
    named = list(dict.fromkeys(name for hello in hellos for name in hello.members))
    if len(members) == 1 and len(named) <= 1:
        return [Topology(str(members[0].advertise))]
    # Host names are compared without case; the session looks up what the server says, as it says it.
    advertised = {str(member.upstream).lower(): str(member.advertise) for member in members}
    uncovered = [name for name in named if name.lower() not in advertised]
    if uncovered:
        raise errors.TopologyProblem(
            errors.StartReason.MEMBER_WITHOUT_LISTENER,
            f"no listener stands for the replica set members {', '.join(uncovered)}",
            "list every member under `members:`, by the name that rs.conf() gives it",
        )
    names = {str(member.upstream): str(member.advertise) for member in members}
    names |= {name: advertised[name.lower()] for name in named}
    return [Topology(str(member.advertise), names) for member in members]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the files said. Holds keys."""

    config: Config
    policy: PolicyFile
    first: FirstKeyring
    source: KeyringSource
    listen: TlsSide
    upstream: TlsSide
    reread: ReadConfig
    """For a reload."""
    frontier_uri: str | None = None
    """How to connect to the server's database `sealwire`. Holds a password."""
    contexts: OpenContexts | None = None
    """The store of the keys of contexts."""
    identities: LoadedIdentities = NO_LOADED_IDENTITIES
    """As whom clients with a certificate are logged in. Holds passwords."""
    admin_files: AdminFiles = (NO_TLS, None)
    watch: WatchReader | None = None
    """For the page on the admin address: reads what the watch has to tell."""

    def __repr__(self) -> str:
        return "Loaded()"


def load(
    config: Config,
    reread: ReadConfig,
    environ: Mapping[str, str] | None = None,
    watch: WatchReader | None = None,
) -> Loaded:
    """Read what the configuration names, ask for the keys, and prove the cipher. Blocks.

    Raises: SourceError, FileProblem, PermissionProblem, KeyringIncomplete, TracesUnavailable,
            crypto.errors.SelfTestFailed and
            what loading a keyring raises (keys.errors).
    """
    policy = read_policy(config.policy)
    selftest.run()
    providers = Providers(environ, config.vault)
    source = _keyring_source(config, providers)
    first = source.first()
    require_classes(policy.rules, first.keyring, config)
    require_store(policy.rules, config)
    if config.traces is not None:
        require_library()
    listen, upstream = listen_side(config.listen_tls), upstream_side(config.upstream_tls)
    uri = None if config.frontier_uri_file is None else read_uri(config.frontier_uri_file)
    contexts = None
    if config.keys.contexts is not None:
        contexts = _open_contexts(config.keys.contexts, providers)
    loaded = Loaded(config, policy, first, source, listen, upstream, reread, uri, contexts)
    identities = load_identities(config, environ)
    return replace(loaded, admin_files=admin_files(config), watch=watch, identities=identities)


def _open_contexts(place: Place, providers: Providers) -> OpenContexts:
    """The store of context keys, which may be away: what needs none of its keys is served without it."""
    store = providers.context_store(place, create=True, may_be_away=True)
    try:
        return OpenContexts(store, store.destroyed_after(-1)[0])
    except KekUnavailable as error:
        return OpenContexts(store, None, error)


def key_findings(loaded: Loaded) -> list[Finding]:
    """That keys come from the cache, or that the store of context keys is away."""
    found = []
    if (error := loaded.first.unavailable) is not None:
        reason = {"reason": error.reason.value}
        found.append(Finding("keys come from the cache", str(error), error.hint, reason))
    if loaded.contexts is not None and (away := loaded.contexts.unavailable) is not None:
        found.append(Finding("keys of contexts are away", str(away), away.hint))
    return found


def _keyring_source(config: Config, providers: Providers) -> KeyringSource:
    kek = providers.kek(config.kek)
    store = providers.store(config.keyring)
    cache = None
    if config.keys.cache is not None:
        settings = config.keys.cache
        max_age = timedelta(seconds=settings.max_age_s)
        cache = KeyringCache(settings.path, providers.kek(settings.kek), str(store), kek.id, max_age)
    return KeyringSource(store, kek, cache, _note_cache)


def _note_cache(error: KeysError) -> None:
    fields = {"reason": error.reason.value, "problem": str(error)}
    note(_log, logging.WARNING, "key cache could not be written", hint=error.hint, **fields)


def require_classes(policy: PolicySet, keyring: Keyring, config: Config) -> None:
    """Each class of the policy needs an active key, a random one a key that encrypts.

    Classes that have one key have to be alike, and one of them that moves has to have a path in the policy.

    Raises KeyringIncomplete.
    """
    missing: list[str] = []
    for name, field_class in policy.classes.items():
        try:
            is_plaintext = keyring.is_plaintext(keyring.cipher_for(name))
        except UnknownKey:
            missing.append(name)
            continue
        if is_plaintext and field_class.mode is Mode.RANDOM:
            raise errors.KeyringIncomplete(
                errors.StartReason.KEYRING_INCOMPLETE,
                f"{config.keyring}: class {name} is in clear, which its mode rules out",
                f"sealwire keys rotate {name} gives it a key; what is stored in clear is read as it is",
            )
    if missing:
        raise errors.KeyringIncomplete(
            errors.StartReason.KEYRING_INCOMPLETE,
            f"{config.keyring}: no active key for the classes {', '.join(missing)}",
            f"if it is new: sealwire keys create {missing[0]}; if it had a key before, this is an older "
            "keyring: restore the newest",
        )
    _require_right_sharing(policy, keyring, config)
    named = {each.name for _, tree in policy.observed_trees for _, each in covered_fields(tree)}
    moving = ", ".join(sorted(named.intersection(keyring.pending_classes)))
    if moving:
        raise errors.KeyringIncomplete(
            errors.StartReason.KEYRING_INCOMPLETE,
            f"{config.keyring}: {moving} moves to another key, and a collection of it is only observed",
            "finish the move under a policy that protects it: sealwire migrate status",
        )


def _require_right_sharing(policy: PolicySet, keyring: Keyring, config: Config) -> None:
    unlike = " and ".join(policy.unlike(keyring.shared_keys))
    if unlike:
        raise errors.KeyringIncomplete(
            errors.StartReason.KEYRING_INCOMPLETE,
            f"{config.keyring}: two classes have one key, and the policy's {unlike} may not",
            "both have to be deterministic, of one type and range, and without keys for contexts",
        )
    moving = ", ".join(sorted(unnamed(keyring, policy.used_classes)))
    if moving:
        raise errors.KeyringIncomplete(
            errors.StartReason.KEYRING_INCOMPLETE,
            f"{config.keyring}: values move between {moving} and a class of the policy, which has it nowhere",
            f"keep {moving} at its paths in the policy until the move is over: sealwire migrate status",
        )


def require_store(policy: PolicySet, config: Config) -> None:
    """Classes with a key for each context need a store. Raises KeyringIncomplete."""
    if policy.has_contexts and config.keys.contexts is None:
        name = next(each.name for each in policy.classes.values() if each.per is not None)
        raise errors.KeyringIncomplete(
            errors.StartReason.KEYRING_INCOMPLETE,
            f"class {name} has a key for each context, and there is no store of such keys",
            "set keys.contexts to a file that is not in the data's own backups, or to vault:MOUNT/PATH",
        )


def make_upstreams(config: Config, tls: TlsSide) -> list[Upstream]:
    """One for each member, in the configuration's order."""
    ways = ways_of(config, tls.context)
    return [Upstream(member.upstream, ways) for member in config.members]


@dataclass(frozen=True, slots=True)
class Probed:
    """What the servers said."""

    topologies: tuple[Topology, ...]
    """For each listener; none where servers are followed, since what is told of them changes."""
    findings: tuple[Finding, ...] = ()
    """Members that are down, and where a setting does not fit."""


async def probe(config: Config, upstreams: Sequence[Upstream]) -> Probed:
    """Ask every server at once.

    A member of a replica set may be down, that is what the set is for; but one that may not be used, or none
    that answers, is an error. Of members that are followed only the last counts: whoever follows them leaves
    out those that may not be used, and takes them in again.

    Raises: UpstreamUnavailable, TopologyProblem, AccessProblem
    """
    if not config.probe:
        return Probed(tuple(topologies(config.members, [])))
    answers = await asyncio.gather(
        *(ask_hello(upstream, config.limits) for upstream in upstreams), return_exceptions=True
    )
    hellos: list[Hello] = []
    away: list[errors.ServerError] = []
    for upstream, answer in zip(upstreams, answers, strict=True):
        if not isinstance(answer, Hello | errors.UpstreamUnavailable):
            raise answer
        unfit = unfit_of(upstream.address, answer, config.access_control)
        if unfit is not None and config.discovery is None:
            raise unfit
        match unfit or answer:
            case Hello() as hello:
                hellos.append(hello)
            case error:
                away.append(error)
    if away and not hellos:
        raise away[0]
    found = [Finding("member is down", str(error), error.hint) for error in away]
    found += compare_access(config.access_control, (hello.access for hello in hellos))
    told = [] if config.discovery is not None else topologies(config.members, hellos)
    return Probed(tuple(told), tuple(found))


async def probe_data(
    config: Config, loaded: Loaded, uri: str | None = None, *, is_asked: bool = True
) -> Probed:
    """As `probe`, and if it `is_asked` whether plaintext is stored where the policy has ciphertext.

    `uri` is whom to ask as, in place of frontier.uri_file. Raises PlaintextStored, and what `probe` raises.
    """
    upstreams = make_upstreams(config, loaded.upstream)
    probed = await probe(config, upstreams)
    if not is_asked:
        return probed
    asked = uri or loaded.frontier_uri
    rules, keyring = loaded.policy.rules, loaded.first.keyring
    found = await stored_findings(config, rules, keyring, upstreams, asked)
    return replace(probed, findings=(*probed.findings, *found))

"""Looks at every endpoint of a target, one short connection after another, and gathers the facts.

Connections to one server never overlap and never wait in silence: some servers do a handshake at a time, and
one idle connection would keep their clients out.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from OpenSSL import SSL

from sealwire.crypto.host_names import ascii_host, authority, names_host
from sealwire.sidecars.errors import Unusable
from sealwire.sidecars.tls_check import certificate
from sealwire.sidecars.tls_check.handshake import (
    ClientCertificate,
    Stream,
    StreamFailed,
    TcpStream,
    TlsStream,
    Trouble,
    ask_hello,
    get,
)
from sealwire.sidecars.tls_check.offers import ProtocolVersion, accepted_versions
from sealwire.sidecars.tls_check.target import (
    HTTP_PORT,
    HTTPS_PORT,
    Endpoint,
    EndpointFacts,
    Plaintext,
    Presented,
    Target,
    TargetFacts,
    TargetKind,
    parse_address,
)

PARALLEL_TARGETS = 8


@dataclass(frozen=True, slots=True)
class Settings:
    """How to look. Without `trust` and `identity`, the files that a connection string names are used."""

    trust: certificate.Trust = None
    identity: certificate.ClientIdentity | None = None
    timeout_s: float = 5.0
    """Limit of each connection, from connecting to its end."""
    budget_s: float = 60.0
    """Limit of the look at the versions and suites of one endpoint."""
    http_port: int = HTTP_PORT
    """The port at which an https:// target is asked for its redirect; 0 turns this off."""
    fetch: certificate.Fetch | None = None
    """Asks authorities about revocation; None: only what servers send along counts."""


def settings_for(target: Target, settings: Settings) -> Settings:
    """The settings with the files that the target's connection string names, where none were given.

    Raises:  Unusable
    """
    trust = settings.trust or certificate.load_trust(target.authorities)
    identity = settings.identity or (certificate.load_identity(target.identity) if target.identity else None)
    return replace(settings, trust=trust, identity=identity)


@dataclass(frozen=True, slots=True)
class Watcher:
    """Told how far a run is; from several threads."""

    look_at: Callable[[Endpoint], None]
    """Called before an endpoint is looked at."""
    done: Callable[[], None]
    """Called after a target."""


Locks = dict[tuple[str, int], Lock]
"""One for each address, so that no two targets look at one server at the same time."""


def verify_targets(targets: Sequence[Target], settings: Settings, watcher: Watcher) -> list[TargetFacts]:
    """Targets at the same time, the endpoints of each one after another, in the order that was given.

    What is wrong with a server is in the result.
    Cost:    some 10 to 60 connections for each endpoint; at most budget_s + 4 timeout_s of waiting
    Raises:  Unusable for files that a connection string names
    """
    locks: Locks = {}

    def look(target: Target) -> TargetFacts:
        try:
            return _verify(target, settings, locks, watcher)
        finally:
            watcher.done()

    with ThreadPoolExecutor(min(PARALLEL_TARGETS, len(targets))) as pool:
        return list(pool.map(look, targets))


def _verify(target: Target, settings: Settings, locks: Locks, watcher: Watcher) -> TargetFacts:
    """Everything that can be seen of one target."""
    settings = settings_for(target, settings)
    waiting = [(endpoint, False) for endpoint in target.endpoints]
    found: dict[str, EndpointFacts] = {}
    seen = datetime.now(UTC)
    for endpoint, discovered in waiting:
        if endpoint.label in found:
            continue
        watcher.look_at(endpoint)
        with locks.setdefault((endpoint.host, endpoint.port), Lock()):
            look = _Look(endpoint, settings)
            found[endpoint.label] = replace(look.run(), discovered=discovered)
        if target.discover:
            waiting += [(member, True) for member in _members(look.members)]
    return TargetFacts(target, tuple(found.values()), seen)


def _members(named: Sequence[str]) -> list[Endpoint]:
    members = []
    for text in named:
        # what a server calls its members is its own affair; what is no address reaches no client
        with suppress(Unusable):
            members.append(parse_address(text, TargetKind.MONGODB))
    return members


class _Look:
    """One look at one endpoint; `facts` are what has been seen so far."""

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self.endpoint = endpoint
        self.settings = settings
        self.members: tuple[str, ...] = ()
        self.facts = EndpointFacts(endpoint)

    def run(self) -> EndpointFacts:
        until = time.monotonic() + self.settings.budget_s
        try:
            versions = accepted_versions(self._dial, self.endpoint.host, until)
        except StreamFailed as failure:
            return replace(self.facts, trouble=failure.trouble)
        self._note(versions=versions)
        if not self.facts.accepted:
            self._note(trouble=next((found.trouble for found in versions if found.trouble), None))
        self._note(plaintext=self._plaintext())
        presented = self._presented() if self.facts.accepted else None
        return replace(self.facts, presented=presented)

    def _note(self, **seen: Any) -> None:
        self.facts = replace(self.facts, **seen)

    def _dial(self) -> Stream:
        return TcpStream(self.endpoint.host, self.endpoint.port, self.settings.timeout_s)

    def _plaintext(self) -> Plaintext | None:
        if self.endpoint.kind is TargetKind.HTTPS:
            return self._plain_http() if self.settings.http_port else None
        try:
            with closing(self._dial()) as stream:
                ask_hello(stream)
        except StreamFailed:
            return Plaintext.REFUSED
        return Plaintext.ACCEPTED

    def _plain_http(self) -> Plaintext | None:
        host, port = self.endpoint.host, self.settings.http_port
        try:
            with closing(TcpStream(host, port, self.settings.timeout_s)) as stream:
                answer = get(stream, authority(host, port, HTTP_PORT), self.endpoint.path)
        except StreamFailed as failure:
            closed = failure.trouble in (Trouble.REFUSED, Trouble.TIMEOUT, Trouble.UNREACHABLE)
            return Plaintext.CLOSED if closed else Plaintext.REFUSED
        if answer.redirects_to_https and answer.redirects_to(ascii_host(host)):
            return Plaintext.REDIRECTED
        return Plaintext.ACCEPTED

    def _presented(self) -> Presented | None:
        tls = self._converse_as_nobody()
        chain = tls.chain
        if not chain:
            return None
        if tls.client_certificate is ClientCertificate.REQUIRED:
            self._note(trouble=None, application_trouble=Trouble.ALERT)
            if self.settings.identity is not None:
                self._converse(self.settings.identity, self._speak)
        verified = tls.verified_chain
        issuer = next(iter(verified[1:] or chain[1:]), None)
        described = tuple(certificate.describe(each) for each in chain)
        return Presented(
            version=tls.version,
            suite=tls.suite,
            chain=described,
            names_host=names_host(described[0].names, self.endpoint.host),
            distrust=tls.distrust,
            client_certificate=tls.client_certificate,
            revocation=certificate.check_revocation(chain[0], issuer, tls.staple, self.settings.fetch),
            renegotiates=self._renegotiates(),
        )

    def _renegotiates(self) -> bool:
        """Tried on a connection of its own, of TLS 1.2: newer ones have no second handshake."""
        if not any(found.version is not ProtocolVersion.TLS13 for found in self.facts.accepted):
            return False
        try:
            with closing(self._dial()) as stream:
                trust, identity = self.settings.trust, self.settings.identity
                tls = TlsStream(stream, self.endpoint.host, trust, identity, newest=SSL.TLS1_2_VERSION)
                tls.shake_hands()
                return tls.begin_anew()
        except StreamFailed:
            return False

    def _converse_as_nobody(self) -> TlsStream:
        tls = self._converse(None, self._speak)
        trouble = self.facts.application_trouble
        if trouble is Trouble.CLOSED and tls.client_certificate is ClientCertificate.OPTIONAL:
            # It hung up on what we said: perhaps a refusal whose alert was lost. Listen without speaking.
            again = self._converse(None, TlsStream.await_refusal)
            if again.client_certificate is ClientCertificate.REQUIRED:
                return again
            self._note(application_trouble=trouble)
        return tls

    def _converse(
        self, identity: certificate.ClientIdentity | None, speak: Callable[[TlsStream], None]
    ) -> TlsStream:
        """Shake hands and speak; what goes wrong is noted, and what was seen until then stays."""
        self._note(trouble=None, application_trouble=None)
        with closing(self._dial()) as stream:
            tls = TlsStream(stream, self.endpoint.host, self.settings.trust, identity)
            try:
                tls.shake_hands()
            except StreamFailed as failure:
                self._note(trouble=failure.trouble)
                return tls
            try:
                speak(tls)
            except StreamFailed as failure:
                self._note(application_trouble=failure.trouble)
            return tls

    def _speak(self, tls: TlsStream) -> None:
        match self.endpoint.kind:
            case TargetKind.MONGODB:
                self.members = ask_hello(tls)
            case TargetKind.HTTPS:
                place = authority(self.endpoint.host, self.endpoint.port, HTTPS_PORT)
                self._note(http=get(tls, place, self.endpoint.path))
            case TargetKind.TLS:
                tls.await_refusal()

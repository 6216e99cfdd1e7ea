"""What a reload reads and checks before any of it counts.

Theory of operation. The files are read in a thread, so that no client waits. Then the keyring is loaded
anew, and must have an active key for every class of the new policy: keys first, then the policy that needs
them. At last configuration and policy are read once more: what an editor was writing meanwhile may have been
valid and half of what was meant, and a policy that lacks its last lines lets their fields pass in clear.
Nothing counts until all of it is well; then `app.Proxy` puts it in place in one step of the event loop.
"""

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import final

from sealwire.files.errors import SourceError
from sealwire.keys.contexts.cache import ContextCache
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.server.config.policy_file import PolicyFile, make_settings, put_first, read_policy
from sealwire.proxy.server.config.reader import expect_file
from sealwire.proxy.server.config.settings import Config, Member, changed, effective
from sealwire.proxy.server.errors import ServerError
from sealwire.proxy.server.findings import Finding
from sealwire.proxy.server.health import Freshness
from sealwire.proxy.server.key_feed import KeyFeed
from sealwire.proxy.server.observability.audit import command_audit
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.stored_plaintext import stored_findings
from sealwire.proxy.server.tls import NO_TLS, TlsSide, listen_side, upstream_side
from sealwire.proxy.server.workers import start
from sealwire.proxy.session.auditing.subjects import CommandAudit
from sealwire.proxy.session.login.identities import NO_IDENTITIES, Identities
from sealwire.proxy.session.shared import Shared

_log = logging.getLogger("sealwire.server")


class ReloadRefused(Exception):
    """What was read cannot take the place of what counts now."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.hint = hint


def note_refused(error: SourceError | ServerError | ReloadRefused) -> None:
    """Log why nothing changed: of a file all that is wrong with it, one line each."""
    others = error.others if isinstance(error, SourceError) else ()
    for each in (error, *others):
        note(_log, logging.ERROR, "reload refused, nothing changed", problem=str(each), hint=each.hint)


@dataclass(frozen=True, slots=True)
class Renewed:
    """What counts once it is put in place."""

    config: Config
    """The new one, with the old values of what needs a restart."""
    policy: PolicyFile
    listen: TlsSide
    upstream: TlsSide
    admin: TlsSide = NO_TLS
    waiting: tuple[str, ...] = ()
    """Keys whose new values wait for a restart."""
    identities: start.LoadedIdentities = start.NO_LOADED_IDENTITIES
    findings: tuple[Finding, ...] = ()
    """What the servers said to a changed setting."""


class Reload:
    """Reads everything again for one proxy; `renew` does it once."""

    def __init__(self, reread: start.ReadConfig, keys: KeyFeed, metrics: Metrics, uri: str | None) -> None:
        """`uri` is that of frontier.uri_file."""
        self._uri = uri
        self._reread = reread
        self._keys = keys
        self._metrics = metrics

    async def renew(self, now: Config, policy: PolicyFile) -> Renewed:
        """What is to count in place of what `now` describes, and of `policy`.

        Raises: SourceError, ServerError, ReloadRefused
        Cost:   one load of the keyring; up to two seconds after another one
        """
        read, renewed = await asyncio.to_thread(self._read, now)
        await self._check_keys(renewed)
        findings = await _ask_servers(now, renewed)
        if renewed.policy.sha256 != policy.sha256:
            findings = (*findings, *await self._look_for_plaintext(renewed))
        if await asyncio.to_thread(self._is_different, read, renewed):
            raise ReloadRefused(
                "configuration or policy changed while they were read", "reload again once they are written"
            )
        return replace(renewed, findings=findings)

    async def _look_for_plaintext(self, renewed: Renewed) -> list[Finding]:
        """Raises PlaintextStored: certificates do not wait for that, a policy does."""
        config, rules = renewed.config, renewed.policy.rules
        upstreams = start.make_upstreams(config, renewed.upstream)
        return await stored_findings(config, rules, self._keys.keyring, upstreams, self._uri)

    def _read(self, now: Config) -> tuple[Config, Renewed]:
        read = self._reread()
        expect_file(read.policy)
        policy = read_policy(read.policy)
        try:
            listen, upstream = listen_side(read.listen_tls), upstream_side(read.upstream_tls)
            # where the files lie waits for a restart, what is in them does not
            admin = listen_side(now.admin_tls)
            identities = start.load_identities(read)
        except ServerError:
            self._metrics.certificate_reloads.labels("failed").inc()
            raise
        waiting = tuple(changed(now, read))
        return read, Renewed(effective(now, read), policy, listen, upstream, admin, waiting, identities)

    def _is_different(self, read: Config, renewed: Renewed) -> bool:
        """Whether the files say something else by now. Raises what reading them raises."""
        again = self._reread()
        return again != read or read_policy(again.policy).sha256 != renewed.policy.sha256

    async def _check_keys(self, renewed: Renewed) -> None:
        """Raises KeyringIncomplete, ReloadRefused.

        A provider that does not answer says nothing against the keys in memory, as at a start with a cache:
        new certificates must not wait for it. One that refuses, or a damaged keyring, is believed.
        """
        failure = await self._keys.load_anew()
        if failure is not None and (not failure.unavailable or self._keys.freshness is Freshness.EXPIRED):
            raise ReloadRefused(failure.problem, failure.hint)
        start.require_classes(renewed.policy.rules, self._keys.keyring, renewed.config)
        start.require_store(renewed.policy.rules, renewed.config)


async def _ask_servers(now: Config, renewed: Renewed) -> tuple[Finding, ...]:
    """Ask whether a changed setting fits. Raises what `probe` raises."""
    config = renewed.config
    if config.access_control is now.access_control:
        return ()
    return (await start.probe(config, start.make_upstreams(config, renewed.upstream))).findings


# What is in force in one process: configuration, policies and identities, and what sessions share of
# them.
#
# A reload replaces all of it in one step of the event loop; members come and go in between.


@final
class InForce:
    """Begins with what was loaded; `share` once, then `renew` at each reload. For one event loop."""

    def __init__(self, loaded: start.Loaded) -> None:
        self.config: Config = loaded.config
        self.policies: tuple[PolicyFile, ...] = (loaded.policy,)
        """The one that counts, then those that counted before."""
        self.shared: Shared
        """What the sessions share; replaced in parts by reloads, by the key feed and by the frontier feed."""
        self._first_identities = loaded.identities.identities
        self._identities: Identities = NO_IDENTITIES
        self._audited: CommandAudit | None = None

    def share(self, keyring: Keyring, cache: ContextCache | None) -> Shared:
        """Make what sessions share. Raises AuditError and KeysError for what the section `audit` names."""
        self._audited = command_audit(self.config.audit)
        self._identities = self._first_identities
        settings = make_settings(self.config, self.policies, self._audited, self._identities)
        self.shared = Shared(settings, keyring, cache)
        return self.shared

    def use_members(self, members: tuple[Member, ...]) -> Config:
        """There are these members now; the configuration with them."""
        self.config = replace(self.config, members=members)
        return self.config

    def renew(self, renewed: Renewed) -> bool:
        """Let what was read count; whether sessions have other settings now.

        Where nothing has changed for them they keep their settings, and with these the server's answers.
        """
        before = self.config
        # servers may have come or gone meanwhile
        config = self.config = replace(renewed.config, members=before.members)
        policies, identities = put_first(renewed.policy, self.policies), renewed.identities.identities
        is_same = policies[0] is self.policies[0] and _of_sessions(config) == _of_sessions(before)
        if is_same and not identities and not self._identities:
            return False
        self._identities = identities
        self.policies = policies
        self.shared.use_settings(make_settings(config, policies, self._audited, identities))
        return True


def _of_sessions(config: Config) -> tuple[object, ...]:
    """What `make_settings` takes from a configuration."""
    compression = config.listen_compression, config.upstream_compression
    return config.access_control, config.reveal, compression, config.limits.questions

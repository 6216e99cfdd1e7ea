"""What is in force in one process: configuration, policies and identities, and what sessions share of them.

A reload replaces all of it in one step of the event loop; members come and go in between.
"""

from dataclasses import replace
from typing import final

from sealwire.keys.contexts.cache import ContextCache
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.server.config.policy_file import PolicyFile, make_settings, put_first
from sealwire.proxy.server.config.settings import Config, Member
from sealwire.proxy.server.observability.audit import command_audit
from sealwire.proxy.server.workers.announce import warn_of_less
from sealwire.proxy.server.workers.reload import Renewed
from sealwire.proxy.server.workers.start import Loaded
from sealwire.proxy.session.auditing.settings import CommandAudit
from sealwire.proxy.session.login.identities import NO_IDENTITIES, Identities
from sealwire.proxy.session.shared import Shared


@final
class InForce:
    """Begins with what was loaded; `share` once, then `renew` at each reload. For one event loop."""

    def __init__(self, loaded: Loaded) -> None:
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
        warn_of_less(self.policies[0].rules, policies[0].rules)
        self.policies = policies
        self.shared.use_settings(make_settings(config, policies, self._audited, identities))
        return True


def _of_sessions(config: Config) -> tuple[object, ...]:
    """What `make_settings` takes from a configuration."""
    compression = config.listen_compression, config.upstream_compression
    return config.access_control, config.reveal, compression

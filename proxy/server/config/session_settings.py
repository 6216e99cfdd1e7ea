"""What a configuration and its policies say to sessions."""

from collections.abc import Sequence

from sealwire.proxy.server.config.policy_file import PolicyFile
from sealwire.proxy.server.config.settings import AccessControl, Config
from sealwire.proxy.session.shared import SessionSettings


def make_settings(config: Config, policies: Sequence[PolicyFile]) -> SessionSettings:
    """What sessions go by; `policies`: the one that counts, then the former."""
    return SessionSettings(
        policies[0].rules,
        login_required=config.access_control is AccessControl.REQUIRED,
        reveal=config.reveal,
        former=tuple(policy.rules for policy in policies[1:]),
    )

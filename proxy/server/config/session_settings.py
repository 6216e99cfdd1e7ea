"""What a configuration and its policies say to the sessions of one listener.

Apart from `sessions`, which connections import and which may be compiled: the policy's reader is not.
"""

from collections.abc import Sequence

from sealwire.proxy.server.config.policy_file import PolicyFile
from sealwire.proxy.server.config.settings import AccessControl, Config
from sealwire.proxy.session.conversation import SessionSettings
from sealwire.proxy.session.handshake import Topology


def make_settings(config: Config, policies: Sequence[PolicyFile], topology: Topology) -> SessionSettings:
    """What the sessions of one listener go by; `policies`: the one that counts, then the former."""
    return SessionSettings(
        policies[0].rules,
        topology,
        login_required=config.access_control is AccessControl.REQUIRED,
        reveal=config.reveal,
        former=tuple(policy.rules for policy in policies[1:]),
    )

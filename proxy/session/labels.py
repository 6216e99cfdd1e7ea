"""The closed sets from which the labels of what sessions count are taken: names of commands, and reasons.

A label is never a client's own word: what is in none of these sets is counted as `OTHER`.
"""

from typing import Final

from sealwire.policies.commands.planner import KNOWN_COMMANDS
from sealwire.policies.errors import Reason
from sealwire.proxy.session import replies
from sealwire.proxy.session.compression import compressed_label
from sealwire.proxy.session.login.access import LoginNeeded
from sealwire.proxy.session.login.authentication import CertificateLogin
from sealwire.proxy.session.login.handshake import BalancerMismatch, OwnProbe
from sealwire.wire.compressors import COMPRESSOR_NAMES
from sealwire.wire.errors import WireReason

OTHER: Final = "other"

COUNTED_COMMANDS: Final = frozenset(name.decode() for name in KNOWN_COMMANDS)
"""Commands that are counted under their names."""

FAILURES: Final[tuple[type[Exception], ...]] = (
    LoginNeeded,
    CertificateLogin,
    BalancerMismatch,
    OwnProbe,
    *replies.FAILURES,
)
"""Why a command cannot be carried out although the policy allows it."""

NAME_UNKNOWN: Final = "NamespaceUnknown"
"""The server did not say what a name is, so the command was not sent."""

COMMAND_LABELS: Final = (*sorted(COUNTED_COMMANDS), OTHER)
WRITE_LABELS: Final = ("insert", "update", "delete", "bulkWrite", OTHER)
"""Commands with several writes, of which some may fail."""
REFUSAL_LABELS: Final = (
    *(reason.value for reason in Reason),
    *(failure.__name__ for failure in FAILURES),
    NAME_UNKNOWN,
)
WITHHELD_LABELS: Final = tuple(failure.__name__ for failure in replies.FAILURES)
PROTOCOL_LABELS: Final = tuple(reason.value for reason in WireReason)
COMPRESSED_LABELS: Final = {
    compressed_label(peer, direction, name): (peer, direction, name)
    for peer in ("client", "server")
    for direction in ("received", "sent")
    for name in COMPRESSOR_NAMES
}
"""What each label of compressed messages says: the peer, the way as the proxy sees it, the compressor."""

_REASONS: Final = frozenset(reason.value for reason in Reason)


def command_label(command: str) -> str:
    """Under what a command is counted."""
    return command if command in COUNTED_COMMANDS else OTHER


def write_label(command: str) -> str:
    """Under what errors of a command's writes are counted."""
    return command if command in WRITE_LABELS else OTHER


def is_policy_reason(reason: str) -> bool:
    """Whether it is the policy that says no; else Sealwire could not carry the command out."""
    return reason in _REASONS

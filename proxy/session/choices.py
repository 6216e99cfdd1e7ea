"""What a configuration chooses for sessions, in words and names.

It imports nothing of Sealwire: commands that only read a configuration, such as `healthcheck`, start in a
fifth of the time.
"""

from enum import Enum
from typing import NamedTuple


class CommandScope(Enum):
    """Which commands have a line in the audit log."""

    ALL = "all"
    PROTECTED = "protected"
    """Those that reach what the policy covers, or are shown values that were encrypted."""
    WRITES = "writes"
    """Protected ones that write."""
    REFUSED = "refused"
    """Only what is refused, and acts (`policies.planning.rules.Act`), which always have one."""


class Reveal(Enum):
    """In which replies envelopes are opened."""

    PROTECTED = "protected"
    """To commands that reach a protected collection, a view on one, or a change stream that includes one."""
    EVERYWHERE = "everywhere"
    """In every reply, so also where ciphertext was copied into a collection without a policy."""


class ScramHash(Enum):
    """The mechanisms, by their names."""

    SHA_1 = "SCRAM-SHA-1"
    SHA_256 = "SCRAM-SHA-256"


class Holder(NamedTuple):
    """Whose certificate a client shows, as the configuration names it."""

    subject: str
    issuer: str = ""
    """Who has signed it; empty: any authority that is verified."""

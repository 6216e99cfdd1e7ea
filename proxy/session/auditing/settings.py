"""Which commands are on record, and how persons are named in it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

Pseudonym = Callable[[str, int, bytes], str]
"""From what an identifier is, its BSON type and its value to the name of a person; as `audit.pseudonyms`."""

IDENTIFIER: Final = ""
"""What a value of the class that identifies persons is; of others it is the path to which a link leads."""


class CommandScope(Enum):
    """Which commands have a line in the audit log."""

    ALL = "all"
    PROTECTED = "protected"
    """Those that reach what the policy covers, or are shown values that were encrypted."""
    WRITES = "writes"
    """Protected ones that write."""
    REFUSED = "refused"
    """Only what is refused, and acts (`policies.planning.rules.Act`), which always have one."""


@dataclass(frozen=True, slots=True)
class CommandAudit:
    """What configuration says to sessions of the commands that are carried out."""

    scope: CommandScope
    pseudonym: Pseudonym | None = None
    """What names persons; without it no line says whose documents were shown."""

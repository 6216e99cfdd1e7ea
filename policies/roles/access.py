"""What a role allows with the values of one class."""

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final


class Level(IntEnum):
    """How much of a stored value a reader is shown; more is higher."""

    DENIED = 0
    """A reply that holds one is withheld as a whole."""
    CIPHERTEXT = 1
    """The envelope, as it is stored."""
    MASKED = 2
    """A part of it, as a text."""
    CLEAR = 3


class Mask(Enum):
    """Which part of a value is shown; see `masks`."""

    LAST4 = "last4"
    YEAR = "year"
    OUTWARD = "outward"
    INITIALS = "initials"
    FIXED = "fixed"
    """No part: all others show one."""


@dataclass(frozen=True, slots=True)
class Disclosure:
    """How a reader is shown the values of a class."""

    level: Level
    mask: Mask = Mask.FIXED
    """Counts for MASKED only."""

    def shows_more_than(self, other: "Disclosure") -> bool:
        """Whether this is the better of two. Of two masks, one that shows a part is better than `fixed`."""
        if self.level is not other.level:
            return self.level > other.level
        return self.level is Level.MASKED and other.mask is Mask.FIXED and self.mask is not Mask.FIXED


@dataclass(frozen=True, slots=True)
class ClassAccess:
    """What may be done with the values of a class."""

    read: Disclosure
    filters: bool = False
    """Whether values may be compared: found by, joined, grouped, told apart."""
    writes: bool = False

    def joined(self, other: "ClassAccess") -> "ClassAccess":
        """What both allow together."""
        read = other.read if other.read.shows_more_than(self.read) else self.read
        return ClassAccess(read, self.filters or other.filters, self.writes or other.writes)


DENIED: Final = Disclosure(Level.DENIED)
CLEAR: Final = Disclosure(Level.CLEAR)
NO_ACCESS: Final = ClassAccess(DENIED)

"""What planning one command may cost: checked while it is spent, so that a short one cannot ask for much."""

from typing import Final, final

from mypy_extensions import mypyc_attr

from sealwire.policies.errors import Reason, Refusal

# No message may be longer, so what has to be written for a command cannot be more either. An envelope makes
# its element 34 bytes longer or more; the plan itself would take a kilobyte for each.
MAX_MADE_BYTES: Final = 48_000_000
ENVELOPE_BYTES: Final = 34

# A range is a few bytes that become up to 200,000 values, each with an AES-SIV call. One such range is
# somebody's need, and so are several of a century of days; a hundred are not. 250,000 take a second or two.
MAX_LISTED_VALUES: Final = 250_000
# `$in` has its index, an envelope and four bytes of value for each.
LISTED_BYTES: Final = 41


@final
@mypyc_attr(acyclic=True, free_list_len=1)  # see wire.raw_bson: Element, Cursor
class Budget:
    """What a command has spent. Every spending raises Refusal as soon as it is too much, at O(1)."""

    __slots__ = ("_listed", "_made")

    def __init__(self) -> None:
        self._made = 0
        self._listed = 0

    def spend(self, made: int, listed: int = 0) -> None:
        """Take bytes that encrypting will make, and values that ranges will list.

        Raises Refusal: TOO_LARGE, RANGE_SIZE.
        """
        self._listed += listed
        if self._listed > MAX_LISTED_VALUES:
            raise Refusal(Reason.RANGE_SIZE, rule="all ranges of the command together")
        self._made += made
        if self._made > MAX_MADE_BYTES:
            raise Refusal(Reason.TOO_LARGE)

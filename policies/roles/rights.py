"""What one client may do with one command: the rights of its roles together."""

from collections.abc import Iterable, Mapping
from typing import Final, final

from sealwire.policies.roles.access import NO_ACCESS, ClassAccess, Disclosure, Level, Mask


@final
class Rights:
    """Never changed. Who has no role has none of them."""

    __slots__ = (
        "_by_class",
        "_others",
        "comparisons_per_hour",
        "deletes",
        "documents_per_hour",
        "is_glass_broken",
        "lacks",
        "roles",
    )

    def __init__(  # noqa: PLR0913 - one for each field
        self,
        roles: tuple[str, ...] = (),
        by_class: Mapping[str, ClassAccess] | None = None,
        others: ClassAccess = NO_ACCESS,
        *,
        deletes: bool = False,
        documents_per_hour: int | None = None,
        comparisons_per_hour: int | None = None,
        is_glass_broken: bool = False,
        lacks: str = "a role",
    ) -> None:
        self.roles: Final = roles
        """The names of the roles that count, in the order of the policy."""
        self._by_class: Final = dict(by_class or {})
        self._others: Final = others
        self.deletes: Final = deletes
        """Whether documents may be deleted whatever classes they have."""
        self.documents_per_hour: Final = documents_per_hour
        """How many a client with these roles is shown; None where one of them has no limit."""
        self.comparisons_per_hour: Final = comparisons_per_hour
        """How many of its constants may be compared with stored values; None as above."""
        self.is_glass_broken: Final = is_glass_broken
        """Whether a role counts only because the command gives a reason for it."""
        self.lacks: Final = lacks
        """What a client without a role would need: "a role", "a purpose", "a certificate"."""

    @property
    def is_empty(self) -> bool:
        """Whether no role counts."""
        return not self.roles

    def access(self, class_name: str) -> ClassAccess:
        """What may be done with a class, also with one that no role names. Cost: O(1)."""
        return self._by_class.get(class_name, self._others)

    @property
    def every_access(self) -> tuple[ClassAccess, ...]:
        """What may be done with some class, of all classes. Cost: O(classes that roles name)."""
        return (*self._by_class.values(), self._others)

    def disclosure(self, class_names: Iterable[str]) -> Disclosure:
        """How values are shown of which only this is known: that they are of one of these classes.

        Two classes can share a key, and their envelopes do not say which of them they are of: then the least
        of both counts. No name at all is denied.
        """
        least: Disclosure | None = None
        for name in class_names:
            found = self.access(name).read
            if least is None or least.shows_more_than(found):
                least = found
            elif least.level is Level.MASKED and found.level is Level.MASKED and found.mask is not least.mask:
                least = Disclosure(Level.MASKED, Mask.FIXED)
        return NO_ACCESS.read if least is None else least

    def sees_in_clear(self, class_names: Iterable[str]) -> bool:
        """Whether all these classes are shown in clear."""
        return all(self.access(name).read.level is Level.CLEAR for name in class_names)

"""Roles, who has them, and what they give together.

A client is known by the login that the server has confirmed, and by the subject of its verified certificate.
A purpose, and a reason for breaking the glass, are what it says of a command itself.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from functools import reduce
from typing import Final, final

_UNIT: Final = r"(?:[^\\]|\\.)*"
"""What `*` stands for in the subject of a certificate. An escaped character is one: a comma in somebody's
name is written `\\,`, and must not pass for the end of that name."""


# ---------------------------------------------------------- what a role allows with the values of one class


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
NO_ACCESS: Final = ClassAccess(DENIED)


# -------------------------------- what one client may do with one command: the rights of its roles together


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


CLEAR: Final = Disclosure(Level.CLEAR)


@dataclass(frozen=True, slots=True)
class Claim:
    """Who a client is, and what it says of one command."""

    users: tuple[str, ...] = ()
    """As `user@database`, confirmed by the server; in the database's name no `@` stands as such."""
    certificate: str = ""
    """The subject of its verified certificate (RFC 4514); empty without one."""
    purpose: str = ""
    has_reason: bool = False
    """Whether it gives a reason for breaking the glass."""
    issuer: str = ""
    """Who has signed the certificate (RFC 4514)."""


@final
class Wildcards:
    """Names, in which `*` stands for any characters."""

    __slots__ = ("_found", "texts")

    def __init__(self, texts: tuple[str, ...], *, are_subjects: bool = False) -> None:
        self.texts: Final = texts
        unit = _UNIT if are_subjects else ".*"
        self._found: Final = tuple(
            re.compile(unit.join(re.escape(part) for part in text.split("*")), re.DOTALL) for text in texts
        )

    def __bool__(self) -> bool:
        return bool(self.texts)

    @property
    def match_all(self) -> bool:
        """Whether one of them is every name."""
        return any(not text.strip("*") for text in self.texts)

    def match(self, name: str) -> bool:
        """Whether one of them is this name. Cost: O(patterns)."""
        return any(pattern.fullmatch(name) for pattern in self._found)


@dataclass(frozen=True, slots=True)
class NamedUser:
    """A user as a role names one."""

    name: Wildcards
    database: Wildcards

    def match(self, user: str) -> bool:
        """Whether this is `user@database`. Only the last `@` divides: a user's name may hold one."""
        name, _, database = user.rpartition("@")
        return self.database.match(database) and self.name.match(name)


@dataclass(frozen=True, slots=True)
class Role:
    """One entry of the policy's `roles`."""

    name: str
    users: tuple[NamedUser, ...]
    certificates: Wildcards
    classes: Mapping[str, ClassAccess]
    others: ClassAccess
    """What it allows with a class that it does not name."""
    needs_certificate: bool = False
    purposes: tuple[str, ...] = ()
    """A command has to state one of these, where any are listed."""
    documents_per_hour: int | None = None
    comparisons_per_hour: int | None = None
    break_glass: bool = False
    deletes: bool = False
    issuer: str = ""
    """Certificates count only if this authority has signed them; empty: whoever has."""

    @property
    def filters(self) -> bool:
        """Whether it allows to compare values of some class."""
        return any(each.filters for each in (*self.classes.values(), self.others))

    def access(self, class_name: str) -> ClassAccess:
        """What it allows with a class."""
        return self.classes.get(class_name, self.others)

    def may_count(self, *, has_logins: bool, has_certificates: bool) -> bool:
        """Whether anybody can have it, where clients log in, and where their certificates are verified."""
        by_user, by_certificate = bool(self.users) and has_logins, has_certificates
        if self.needs_certificate:
            return by_certificate and (by_user or not self.users)
        return by_user or (by_certificate and bool(self.certificates))

    def lacks(self, claim: Claim) -> str | None:
        """What a client would need for it to count: empty when it counts, None where it is not its own."""
        has_user = any(each.match(user) for each in self.users for user in claim.users)
        is_certified = (
            bool(claim.certificate)
            and (not self.certificates or self.certificates.match(claim.certificate))
            and self.issuer in {"", claim.issuer}
        )
        if self.needs_certificate:
            if self.users and not has_user:
                return None
            if not is_certified:
                return "a certificate" if self.users else None
        elif not has_user and not (self.certificates and is_certified):
            return None
        if self.break_glass and not claim.has_reason:
            return "a reason to break the glass"
        if self.purposes and claim.purpose not in self.purposes:
            return "a purpose"
        return ""


@dataclass(frozen=True, slots=True)
class Roles:
    """All roles of a policy, in the order of the file."""

    roles: tuple[Role, ...]
    class_names: tuple[str, ...] = ()
    """The classes that some role names."""

    @property
    def has_limits(self) -> bool:
        """Whether some role has a limit for an hour, of which a proxy without a store grants the whole."""
        return any(each.documents_per_hour or each.comparisons_per_hour for each in self.roles)

    def rights(self, claim: Claim) -> Rights:
        """What the roles that count give together: of each class the most. Cost: O(roles * classes)."""
        found = [(role, role.lacks(claim)) for role in self.roles]
        counting = [role for role, lacks in found if lacks == ""]
        if not counting:
            lacking = [lacks for _, lacks in found if lacks]
            return Rights(lacks=lacking[0] if lacking else "a role")
        by_class: dict[str, ClassAccess] = {}
        for name in self.class_names:
            by_class[name] = reduce(ClassAccess.joined, [role.access(name) for role in counting])
        return Rights(
            tuple(role.name for role in counting),
            by_class,
            reduce(ClassAccess.joined, [role.others for role in counting]),
            deletes=any(role.deletes for role in counting),
            documents_per_hour=_limit_of([(each, each.documents_per_hour) for each in counting]),
            comparisons_per_hour=_limit_of(
                [(each, each.comparisons_per_hour) for each in counting if each.filters]
            ),
            is_glass_broken=any(role.break_glass for role in counting),
            lacks="",
        )


def _limit_of(limited: list[tuple[Role, int | None]]) -> int | None:
    """The highest, none where a role has none; of roles by broken glass the lowest, where one has any."""
    by_glass = [limit for role, limit in limited if role.break_glass and limit is not None]
    if by_glass:
        return min(by_glass)
    limits = [limit for _, limit in limited if limit is not None]
    return max(limits) if limits and len(limits) == len(limited) else None

"""Roles, who has them, and what they give together.

A client is known by the login that the server has confirmed, and by the subject of its verified certificate.
A purpose, and a reason for breaking the glass, are what it says of a command itself.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from sealwire.policies.roles.access import ClassAccess
from sealwire.policies.roles.rights import Rights

_UNIT: Final = r"(?:[^\\]|\\.)*"
"""What `*` stands for in the subject of a certificate. An escaped character is one: a comma in somebody's
name is written `\\,`, and must not pass for the end of that name."""


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
            by_class[name] = _together([role.access(name) for role in counting])
        return Rights(
            tuple(role.name for role in counting),
            by_class,
            _together([role.others for role in counting]),
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


def _together(several: list[ClassAccess]) -> ClassAccess:
    found = several[0]
    for each in several[1:]:
        found = found.joined(each)
    return found

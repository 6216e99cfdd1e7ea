"""What a client's roles allow: of who it is, and of what it says of a command.

Each session has one. What it remembers goes with every login, every logout and every other policy, so that no
right outlives its reason.
"""

from dataclasses import replace
from typing import Final, final

from sealwire.policies.roles.rights import Rights
from sealwire.policies.roles.role import Claim, Roles
from sealwire.proxy.session.login.stated import Stated

MAX_REMEMBERED: Final = 64
"""A purpose is whatever a client writes."""


@final
class Entitled:
    """From what is stated of a command to the rights that count for it."""

    __slots__ = ("_claim", "_known", "roles")

    def __init__(self, roles: Roles | None) -> None:
        self.roles = roles
        """Those of the policy; without any, everybody may do everything."""
        self._claim = Claim()
        self._known: dict[tuple[str, bool], Rights] = {}

    def use_roles(self, roles: Roles | None) -> None:
        """Another policy counts."""
        self.roles = roles
        self._known.clear()

    def use_users(self, users: tuple[str, ...]) -> None:
        """The server has said who has logged in, or nobody knows."""
        self._claim = replace(self._claim, users=users)
        self._known.clear()

    def use_certificate(self, subject: str, issuer: str = "") -> None:
        """The client has proved that it holds a certificate with this subject, signed by `issuer`."""
        self._claim = replace(self._claim, certificate=subject, issuer=issuer)
        self._known.clear()

    @property
    def client(self) -> str:
        """By what the client is told from others: its users, without any its certificate."""
        claim = self._claim
        return " ".join(claim.users) or f"{claim.certificate};{claim.issuer}".rstrip(";")

    def rights(self, stated: Stated) -> Rights | None:
        """What counts for a command; None where the policy has no roles. The same object, while nothing
        changes. Cost: O(1), for the first command of a kind O(roles * classes).
        """
        roles = self.roles
        if roles is None:
            return None
        key = stated.purpose, bool(stated.glass.strip())
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            claim = replace(self._claim, purpose=key[0], has_reason=key[1])
            found = self._known[key] = roles.rights(claim)
        return found

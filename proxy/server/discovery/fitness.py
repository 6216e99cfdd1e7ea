"""Which servers may be used: their certificates are accepted, and they ask for a login where they should.

One that may not be used is left out until it answers as it should: no listener, no client is told of it, and
nothing is sent there but the next question. It does not keep the others from being served. One that does not
answer at all is another matter: it may be restarting, and what was known of it before still counts. One that
has never answered is left out too, since anybody's address may have been named.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sealwire.proxy.server.config.settings import AccessControl, Address
from sealwire.proxy.server.errors import AccessProblem, ServerError, StartReason, UpstreamUnavailable
from sealwire.proxy.server.findings import Finding, compare_access
from sealwire.proxy.server.probe import Hello

Answer = Hello | UpstreamUnavailable
"""What a server said, or why it said nothing."""


_SPEAKS_AGAINST: Final = (StartReason.UPSTREAM_TLS_VERIFY, StartReason.UPSTREAM_ITSELF)
"""Why there was no answer, if that says that the server may not be used."""


@dataclass(frozen=True, slots=True)
class UnfitMember:
    """A server that may not be used, and why. `reason` is that of the error."""

    member: Address
    reason: StartReason
    problem: str
    hint: str

    @property
    def finding(self) -> Finding:
        """What an operator is told."""
        fields = {"upstream": str(self.member), "reason": self.reason.value}
        return Finding("member is left out", self.problem, self.hint, fields)


def unfit_of(server: Address, answer: Answer, wanted: AccessControl) -> ServerError | None:
    """Why `server` may not be used, as its `answer` shows; `wanted` is what the configuration says of logins.

    Without an answer there is nothing that speaks against it: None.
    """
    if isinstance(answer, UpstreamUnavailable):
        return answer if answer.reason in _SPEAKS_AGAINST else None
    try:
        compare_access(wanted, [answer.access], f"server {server}")
    except AccessProblem as error:
        return error
    return None


def judged(
    before: Mapping[Address, ServerError], answers: Mapping[Address, Answer], wanted: AccessControl
) -> dict[Address, ServerError]:
    """Who may not be used after these answers, of those that were asked. Cost: O(answers)."""
    unfit: dict[Address, ServerError] = {}
    for server, answer in answers.items():
        error = unfit_of(server, answer, wanted)
        if error is None and _tells_nothing(before.get(server), answer, wanted):
            error = before[server]
        if error is not None:
            unfit[server] = error
    return unfit


def require_usable(
    members: Iterable[Address], answers: Mapping[Address, Answer], unfit: Mapping[Address, ServerError]
) -> None:
    """Where members may not be used, another one has to be there. Raises why the first of them may not."""
    known = tuple(members)
    errors = [unfit[member] for member in known if member in unfit]
    if errors and not any(isinstance(answers.get(member), Hello) and member not in unfit for member in known):
        raise errors[0]


def _tells_nothing(known: ServerError | None, answer: Answer, wanted: AccessControl) -> bool:
    """Whether the answer leaves open what was known against its server."""
    if known is None:
        return False
    if isinstance(answer, UpstreamUnavailable):
        return True
    # a certificate was accepted, or there would be no answer
    return isinstance(known, AccessProblem) and answer.access is None and wanted is AccessControl.REQUIRED

"""What is said of a policy that is only observed: what a start warns of, and the rows of the report."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sealwire.policies.errors import EXPLANATIONS, Reason
from sealwire.policies.file.schema import PolicySet
from sealwire.proxy.server.findings import Finding
from sealwire.proxy.session.effects import ObservedVerdict

MAX_NAMED: Final = 20
"""Collections that /readyz, the log and the page name."""

_HINTS: Final = {
    ObservedVerdict.ASKED: "each such command asks the server for stored values first: docs/asking.md",
    ObservedVerdict.LOOKED_UP: "declare it `plain` if it is no view, and try the command if it is: "
    "docs/policies.md#views",
}
_PAGES: Final = {
    Reason.ROLE: "docs/roles.md",
    Reason.CONTEXT: "docs/policies.md#keys-for-contexts",
    Reason.RANGE: "docs/policies.md#ranges",
    Reason.RANGE_SIZE: "docs/policies.md#ranges",
    **dict.fromkeys((Reason.PATTERN, Reason.SORT, Reason.QUESTION, Reason.QUESTION_SIZE), "docs/asking.md"),
    Reason.JOIN: "docs/policies.md#joins-unions-and-writes-of-a-pipeline",
    Reason.PIPELINE_UPDATE: "docs/policies.md#pipeline-updates-and-bulk-writes",
    Reason.UNSEEN: "docs/policies.md#views",
}
_PAGE: Final = "docs/policies.md#what-works-on-a-protected-collection"


@dataclass(frozen=True, slots=True)
class ObservedShape:
    """One row of the report."""

    count: int
    verdict: str
    command: str
    namespace: str
    operator: str
    path: str
    reason: str
    application: str

    @property
    def words(self) -> str:
        """All but the verdict and the count: `find clinic.patients $gt nhs_number [range] by app`."""
        reason = self.reason and f"[{self.reason}]"
        application = self.application and f"by {self.application}"
        parts = (self.command, self.namespace, self.operator, self.path, reason, application)
        return " ".join(part for part in parts if part)

    @property
    def look_at(self) -> str:
        """What to do about it, and where that is described; empty for a command that would be answered."""
        return look_at(self.verdict, self.reason)


def look_at(verdict: str, reason: str) -> str:
    """The same for a verdict and a reason, each as it is shown."""
    if verdict in {ObservedVerdict.ASKED, ObservedVerdict.LOOKED_UP}:
        return _HINTS[ObservedVerdict(verdict)]
    known = {each.value: each for each in Reason}.get(reason)
    return "" if known is None else f"{EXPLANATIONS[known][2]}: {_PAGES.get(known, _PAGE)}"


def shapes_in(counted: Mapping[tuple[str, ...], float]) -> list[ObservedShape]:
    """The rows of SHAPES by LABELS: what would be refused first, and the most frequent of each verdict."""
    order = [each.value for each in reversed(ObservedVerdict)]
    rows = [ObservedShape(round(count), *labels) for labels, count in counted.items() if labels[0] in order]
    return sorted(rows, key=lambda row: (order.index(row.verdict), -row.count, row.namespace, row.command))


def observed_findings(policy: PolicySet) -> list[Finding]:
    """That some of the policy, or all of it, is only observed."""
    names = policy.unprotected
    if not names:
        return []
    shown = ", ".join(names[:MAX_NAMED]) + (" and others" if len(names) > MAX_NAMED else "")
    what = (
        f"nothing is encrypted or refused in {shown}" if policy.protects_anything else "NOTHING is protected"
    )
    return [
        Finding(
            "the policy is only observed",
            f"only observed: {what}; values go to the server in clear, and no role is enforced there",
            "see what would change with sealwire observe report; then take `mode: observe` and `observe` out "
            "of the policy",
            {"collections": len(names)},
        )
    ]

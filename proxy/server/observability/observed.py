"""What a policy that is only observed would have done: counted by shape, logged once for each, and read back.

A shape is a verdict, a command, a namespace, and what was in the way. Clients choose namespaces and call
themselves what they like, so shapes are told apart up to a bound. Nothing here ever has a value.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, final

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sealwire.policies.errors import EXPLANATIONS, Reason
from sealwire.policies.file.schema import PolicySet
from sealwire.proxy.server.findings import Finding
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.session.effects import Observed, Verdict

_log = logging.getLogger("sealwire.server")

MAX_SHAPES: Final = 512
OTHERS: Final = "other"
"""Stands for commands, namespaces and applications of shapes beyond those."""
MAX_NAMED: Final = 20
"""Collections that /readyz, the log and the page name."""

COMMANDS: Final = "sealwire_observed_commands"
SHAPES: Final = "sealwire_observed_shapes"
LABELS: Final = ("verdict", "command", "namespace", "operator", "path", "reason", "application")

_HINTS: Final = {
    Verdict.ASKED: "each such command asks the server for stored values first: docs/asking.md",
    Verdict.LOOKED_UP: "declare it `plain` if it is no view, and try the command if it is: "
    "docs/policies.md#views",
}
_PAGES: Final = {
    Reason.ROLE: "docs/policies.md#roles",
    Reason.CONTEXT: "docs/policies.md#keys-for-contexts",
    Reason.RANGE: "docs/policies.md#ranges",
    Reason.RANGE_SIZE: "docs/policies.md#ranges",
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
    if verdict in {Verdict.ASKED, Verdict.LOOKED_UP}:
        return _HINTS[Verdict(verdict)]
    known = {each.value: each for each in Reason}.get(reason)
    return "" if known is None else f"{EXPLANATIONS[known][2]}: {_PAGES.get(known, _PAGE)}"


def shapes_in(counted: Mapping[tuple[str, ...], float]) -> list[ObservedShape]:
    """The rows of SHAPES by LABELS: what would be refused first, and the most frequent of each verdict."""
    order = [each.value for each in reversed(Verdict)]
    rows = [ObservedShape(round(count), *labels) for labels, count in counted.items() if labels[0] in order]
    return sorted(rows, key=lambda row: (order.index(row.verdict), -row.count, row.namespace, row.command))


@final
class ObservedCounts(Collector):
    """Written by the event loop alone, read by any thread."""

    def __init__(self) -> None:
        self._verdicts = dict.fromkeys(Verdict, 0)
        self._shapes: dict[tuple[str, ...], int] = {}
        self._collections = 0

    def use_policy(self, policy: PolicySet) -> None:
        """This one counts from now on."""
        self._collections = len(policy.unprotected)

    def add(self, met: Observed) -> None:
        """Carry out one Observed effect. Of each shape that needs somebody the first one is logged."""
        self._verdicts[met.verdict] += 1
        if met.verdict is Verdict.UNTOUCHED:
            return
        rest = met.operator, met.path, met.reason, met.application
        shape = (met.verdict.value, met.command, met.namespace, *rest)
        if shape not in self._shapes and len(self._shapes) >= MAX_SHAPES:
            shape = (met.verdict.value, OTHERS, OTHERS, "", "", "", OTHERS)
        before = self._shapes.get(shape, 0)
        self._shapes[shape] = before + 1
        if not before and met.verdict is not Verdict.ANSWERED:
            fields = {name: text for name, text in zip(LABELS, shape, strict=True) if text}
            level = logging.WARNING if met.verdict is Verdict.REFUSED else logging.INFO
            note(_log, level, "observed", hint=look_at(shape[0], shape[5]), **fields)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry, from any thread."""
        text = "Collections and patterns of the policy that are only observed: their values are in clear"
        yield GaugeMetricFamily("sealwire_observed_collections", text, self._collections)
        text = "Commands by what would have become of them, while anything is only observed"
        family = CounterMetricFamily(COMMANDS, text, labels=["verdict"])
        for verdict, count in self._verdicts.items():
            family.add_metric([verdict.value], count)
        yield family
        text = "The same by shape, but for commands that reach nothing covered"
        family = CounterMetricFamily(SHAPES, text, labels=list(LABELS))
        for shape, count in dict(self._shapes).items():
            family.add_metric(shape, count)
        yield family


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

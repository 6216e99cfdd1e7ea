"""Warnings about a policy that is valid but weaker, or less useful, than its author may think."""

from collections.abc import Iterator
from dataclasses import dataclass

from sealwire.policies.file.schema import Mode, PathNode, PolicySet, ValueType, leaves
from sealwire.policies.roles.weaknesses import weaknesses

# Names of fields that take few values. With few values an attacker who knows how often each occurs in the
# population reads them off the frequencies of the ciphertexts (Naveed, Kamara, Wright, CCS 2015: sex, race
# and mortality risk of most patients in most of 200 hospitals).
_FEW_VALUES_NAMES = """
    sex gender ethnicity race religion marital ward department status state country language title
    blood diagnosis severity risk outcome smoker alive deceased category kind priority triage flag
"""
_FEW_VALUES = frozenset(_FEW_VALUES_NAMES.split())

# Skewed rather than few: frequency analysis finds the common ones.
_SKEWED = frozenset({"surname", "lastname", "firstname", "forename", "postcode", "zip", "city", "town"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One warning."""

    rule: str
    """Stable name of the rule that was broken."""
    where: str
    """`namespace path` or a class name."""
    message: str


def lint(policies: PolicySet) -> list[Finding]:
    """All findings, in the order of the file. Cost: O(paths)."""
    findings: list[Finding] = []
    used: set[str] = set()
    for namespace, tree in (*policies.collections.items(), *policies.patterns):
        for leaf in leaves(tree):
            if leaf.leaf is not None:
                used.add(leaf.leaf.name)
                findings.extend(_field(namespace, leaf))
    for name, field_class in policies.classes.items():
        if name not in used:
            findings.append(Finding("unused-class", name, "no collection uses this class"))
        if field_class.value_type is ValueType.BOOL:
            findings.append(
                Finding(
                    "few-values",
                    name,
                    "a deterministic bool has two ciphertexts: anyone can tell them apart",
                )
            )
    if policies.roles is not None:
        class_kinds = {name: field_class.kind for name, field_class in policies.classes.items()}
        findings.extend(Finding(*weakness) for weakness in weaknesses(policies.roles, class_kinds))
    return findings


def _field(namespace: str, node: PathNode) -> Iterator[Finding]:
    if node.leaf is None or node.leaf.mode is Mode.RANDOM:
        return
    name = node.path.rpartition(".")[2].lower()
    where = f"{namespace} {node.path}"
    words = {name.replace("_", ""), *name.replace("-", "_").split("_")}
    if words & _FEW_VALUES:
        yield Finding(
            "few-values",
            where,
            "deterministic mode on a field with few values: frequencies give them away; use random mode",
        )
    elif words & _SKEWED:
        yield Finding(
            "skewed-values",
            where,
            "frequencies give the most common values away; use random mode unless you search by it",
        )

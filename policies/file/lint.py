"""Warnings about a policy that is valid but weaker, or less useful, than its author may think."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from sealwire.policies.file.schema import Mode, PathNode, PolicySet, ValueType, leaves
from sealwire.policies.roles.role import ClassAccess, Level, Mask, Role, Roles
from sealwire.wire import kinds

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
class LintWarning:
    """One warning."""

    rule: str
    """Stable name of the rule that was broken."""
    where: str
    """`namespace path`, a class name, or a role and its class."""
    message: str


def lint(policies: PolicySet) -> list[LintWarning]:
    """All findings, in the order of the file. Cost: O(paths)."""
    findings: list[LintWarning] = []
    used: set[str] = set()
    for namespace, tree in (*policies.collections.items(), *policies.patterns):
        for leaf in leaves(tree):
            if leaf.leaf is not None:
                used.add(leaf.leaf.name)
                findings.extend(_field(namespace, leaf))
    for name, field_class in policies.classes.items():
        if name not in used:
            findings.append(LintWarning("unused-class", name, "no collection uses this class"))
        if field_class.value_type is ValueType.BOOL:
            findings.append(
                LintWarning(
                    "few-values",
                    name,
                    "a deterministic bool has two ciphertexts: anyone can tell them apart",
                )
            )
        if field_class.asks and field_class.mode is Mode.RANDOM:
            findings.append(
                LintWarning(
                    "ask-of-random",
                    name,
                    "each condition opens all candidates, and shows the server which documents satisfy it: "
                    "also which values are equal; prefer `deterministic` if many candidates are left",
                )
            )
    if policies.roles is not None:
        class_kinds = {name: field_class.kind for name, field_class in policies.classes.items()}
        asked = {name for name, field_class in policies.classes.items() if field_class.asks}
        findings.extend(weaknesses(policies.roles, class_kinds, asked))
    return findings


def _field(namespace: str, node: PathNode) -> Iterator[LintWarning]:
    if node.leaf is None or node.leaf.mode is Mode.RANDOM:
        return
    name = node.path.rpartition(".")[2].lower()
    where = f"{namespace} {node.path}"
    words = {name.replace("_", ""), *name.replace("-", "_").split("_")}
    if words & _FEW_VALUES:
        yield LintWarning(
            "few-values",
            where,
            "deterministic mode on a field with few values: frequencies give them away; use random mode",
        )
    elif words & _SKEWED:
        yield LintWarning(
            "skewed-values",
            where,
            "frequencies give the most common values away; use random mode unless you search by it",
        )


# ------------------------------------------- roles that are weaker or less useful than their author may think

_FITS: Final[Mapping[Mask, Collection[int]]] = {
    Mask.LAST4: (kinds.STRING, kinds.INT, kinds.LONG),
    Mask.YEAR: (kinds.DATE, kinds.STRING),
    Mask.OUTWARD: (kinds.STRING,),
    Mask.INITIALS: (kinds.STRING,),
}
"""The BSON types of which each mask shows a part."""


def weaknesses(
    roles: Roles, class_kinds: Mapping[str, int], asked: Collection[str] = ()
) -> Iterator[LintWarning]:
    """All, in the order of the roles. `class_kinds`: the BSON type of each deterministic class, 0 of others.

    `asked` are the classes that answer patterns and ranges.

    Cost: O(roles * roles + roles * classes).
    """
    for role in roles.roles:
        yield from _of_role(role)
        for name, kind in class_kinds.items():
            yield from _of_class(role, name, role.access(name), kind)
            if name in asked:
                yield from _of_asked_class(role, name)
    yield from _contradictions(roles.roles)


def _of_role(role: Role) -> Iterator[LintWarning]:
    given = (*role.classes.values(), role.others)
    if not role.deletes and not any(each.filters or each.writes or each.read.level for each in given):
        yield LintWarning("role-gives-nothing", role.name, "who has it may do no more than without it")
    is_open = any(each.name.match_all and each.database.match_all for each in role.users)
    if is_open and not role.needs_certificate:
        yield LintWarning("role-for-everybody", role.name, "everybody who can log in has it")
    if role.break_glass and not role.documents_per_hour:
        yield LintWarning(
            "glass-without-limit", role.name, "one reason opens everything; set `documents_per_hour`"
        )


def _of_class(role: Role, name: str, access: ClassAccess, kind: int) -> Iterator[LintWarning]:
    where = f"{role.name} {name}"
    level, mask = access.read.level, access.read.mask
    if access.writes and level is Level.MASKED:
        yield LintWarning(
            "mask-written-back", where, "an application that saves what it read writes the mask"
        )
    if access.writes and level is Level.CIPHERTEXT and kind and not access.filters:
        yield LintWarning(
            "write-tells-equality",
            where,
            "who writes a guess and reads its ciphertext can compare it",
        )
    if level is Level.MASKED and mask is not Mask.FIXED and access.filters and not role.comparisons_per_hour:
        yield LintWarning(
            "mask-without-limit",
            where,
            f"`{mask.value}` shows a part, and filters find the rest; set `comparisons_per_hour`",
        )
    if level is Level.MASKED and kind and mask in _FITS and kind not in _FITS[mask]:
        yield LintWarning("mask-without-part", where, f"`{mask.value}` shows no part of values of this type")


def _of_asked_class(role: Role, name: str) -> Iterator[LintWarning]:
    access = role.access(name)
    may_ask = access.filters and access.read.level is Level.CLEAR
    if may_ask and role.documents_per_hour and not role.comparisons_per_hour:
        yield LintWarning(
            "ask-without-limit",
            f"{role.name} {name}",
            "patterns and ranges find values without showing documents; set `comparisons_per_hour`",
        )


def _contradictions(roles: tuple[Role, ...]) -> Iterator[LintWarning]:
    """Rights add up: what one role of a user denies by name, another one gives."""
    for role in roles:
        for other in roles:
            if other is role or other.break_glass or not _names(role) & _names(other):
                continue
            for name, access in role.classes.items():
                given = other.access(name).read
                if access.read.level is Level.DENIED and given.level is not Level.DENIED:
                    yield LintWarning(
                        "denied-and-given",
                        f"{role.name} {name}",
                        f"the role {other.name} of the same users gives it: rights add up",
                    )


def _names(role: Role) -> set[str]:
    users = {f"{each.name.texts[0]}@{each.database.texts[0]}" for each in role.users}
    return users | {f"{text};{role.issuer}" for text in role.certificates.texts}

"""The policy file's `roles`."""

import re
from collections.abc import Collection, Mapping
from typing import Final

from sealwire.files.yaml_source import Node
from sealwire.policies.roles.access import CLEAR, DENIED, NO_ACCESS, ClassAccess, Disclosure, Level, Mask
from sealwire.policies.roles.role import NamedUser, Role, Roles, Wildcards

OTHERS: Final = "*"
"""Stands for the classes that a role does not name."""

MAX_DOCUMENTS_PER_HOUR: Final = 10**9

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")
_LEVELS: Final = {"clear": CLEAR, "ciphertext": Disclosure(Level.CIPHERTEXT), "denied": DENIED}
_MAX_PURPOSE_CHARACTERS: Final = 64


def read_roles(node: Node, classes: Collection[str]) -> Roles:
    """The roles of a policy with these classes. Raises SourceError."""
    found = tuple(_role(name, entry, classes) for name, entry in node.mapping().items())
    if not found:
        raise node.error("no roles", "leave `roles` out, and everybody may do everything")
    named = dict.fromkeys(name for role in found for name in role.classes)
    return Roles(found, tuple(named))


def _role(name: str, node: Node, classes: Collection[str]) -> Role:
    if not _NAME.fullmatch(name):
        raise node.error(f"'{name}' is not a role's name", "letters, digits, _ - . and at most 63 characters")
    entries = node.entries(
        ["classes"],
        [
            "users",
            "certificates",
            "require_certificate",
            "purposes",
            "documents_per_hour",
            "break_glass",
            "delete",
        ],
    )
    users = tuple(_user(item) for item in _listed(entries, "users"))
    subjects = tuple(item.text() for item in _listed(entries, "certificates"))
    if not users and not subjects:
        raise node.error("a role that nobody has", "list `users`, `certificates`, or both")
    access, others = _classes(entries["classes"], classes)
    limit = None
    if "documents_per_hour" in entries:
        limit = entries["documents_per_hour"].integer(1, MAX_DOCUMENTS_PER_HOUR)
    return Role(
        name,
        users,
        Wildcards(subjects, are_subjects=True),
        access,
        others,
        needs_certificate=_flag(entries, "require_certificate"),
        purposes=tuple(_purpose(item) for item in _listed(entries, "purposes")),
        documents_per_hour=limit,
        break_glass=_flag(entries, "break_glass"),
        deletes=_flag(entries, "delete"),
    )


def _listed(entries: Mapping[str, Node], key: str) -> list[Node]:
    if key not in entries:
        return []
    items = list(entries[key].items())
    if not items:
        raise entries[key].error("an empty list", f"name at least one, or leave `{key}` out")
    return items


def _flag(entries: Mapping[str, Node], key: str) -> bool:
    return key in entries and entries[key].boolean()


def _user(node: Node) -> NamedUser:
    name, at, database = node.text().rpartition("@")
    if not (name and at and database):
        raise node.error("a user without a database", "write `user@database`, as the user logs in")
    return NamedUser(Wildcards((name,)), Wildcards((database,)))


def _purpose(node: Node) -> str:
    text = node.text()
    if len(text) > _MAX_PURPOSE_CHARACTERS or not text.isprintable() or ";" in text or text != text.strip():
        raise node.error(
            "not a purpose that a command can state",
            f"at most {_MAX_PURPOSE_CHARACTERS} characters without `;`, and no space at its ends",
        )
    return text


def _classes(node: Node, classes: Collection[str]) -> tuple[dict[str, ClassAccess], ClassAccess]:
    found: dict[str, ClassAccess] = {}
    for name, entry in node.mapping().items():
        if name != OTHERS and name not in classes:
            raise entry.error(f"'{name}' is no class of this policy", f"one of: {', '.join(classes)}, or *")
        found[name] = _access(entry)
    if not found:
        raise node.error("no classes", 'name at least one class, or `"*"` for all')
    others = found.pop(OTHERS, NO_ACCESS)
    return found, others


def _access(node: Node) -> ClassAccess:
    entries = node.entries([], ["read", "filter", "write"])
    read = _disclosure(entries["read"]) if "read" in entries else DENIED
    return ClassAccess(read, _flag(entries, "filter"), _flag(entries, "write"))


def _disclosure(node: Node) -> Disclosure:
    if isinstance(node.value, Mapping):
        mask = node.entries(["mask"])["mask"].choice([mask.value for mask in Mask])
        return Disclosure(Level.MASKED, Mask(mask))
    return _LEVELS[node.choice(list(_LEVELS))]

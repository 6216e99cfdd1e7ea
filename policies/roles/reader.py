"""The policy file's `roles`."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Final, TypeVar

from sealwire.files.errors import Complaints
from sealwire.files.yaml_source import Node
from sealwire.policies.roles.role import (
    CLEAR,
    DENIED,
    NO_ACCESS,
    ClassAccess,
    Disclosure,
    Level,
    Mask,
    NamedUser,
    Role,
    Roles,
    Wildcards,
)

OTHERS: Final = "*"
"""Stands for the classes that a role does not name."""

MAX_PER_HOUR: Final = 10**9

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")
_LEVELS: Final = {"clear": CLEAR, "ciphertext": Disclosure(Level.CIPHERTEXT), "denied": DENIED}
_MAX_PURPOSE_CHARACTERS: Final = 64

T = TypeVar("T")


def read_roles(node: Node, classes: Collection[str] | None) -> Roles:
    """The roles of a policy with these classes; None: their names cannot be judged.

    Raises SourceError, with all that can be told.
    """
    complaints = Complaints()
    found: list[Role] = []
    for name, entry in node.mapping().items():
        with complaints.gathered():
            found.append(_role(name, entry, classes))
    complaints.check()
    if not found:
        raise node.error("no roles", "leave `roles` out, and everybody may do everything")
    named = dict.fromkeys(name for role in found for name in role.classes)
    return Roles(tuple(found), tuple(named))


def _role(name: str, node: Node, classes: Collection[str] | None) -> Role:
    complaints = Complaints()
    if not _NAME.fullmatch(name):
        hint = "letters, digits, _ - . and at most 63 characters"
        complaints.add(node.error(f"'{name}' is not a role's name", hint))
    entries = node.entries(
        ["classes"],
        [
            "users",
            "certificates",
            "issuer",
            "require_certificate",
            "purposes",
            "documents_per_hour",
            "comparisons_per_hour",
            "break_glass",
            "delete",
        ],
        complaints,
    )
    users = _listed(entries, "users", _user, complaints)
    subjects = _listed(entries, "certificates", Node.text, complaints)
    if "users" not in entries and "certificates" not in entries:
        complaints.add(node.error("a role that nobody has", "list `users`, `certificates`, or both"))
    access: dict[str, ClassAccess] = {}
    others = NO_ACCESS
    with complaints.gathered():
        if "classes" in entries:
            access, others = _classes(entries["classes"], classes)
    role = Role(
        name,
        users,
        Wildcards(subjects, are_subjects=True),
        access,
        others,
        needs_certificate=_flag(entries, "require_certificate", complaints),
        purposes=_listed(entries, "purposes", _purpose, complaints),
        documents_per_hour=_limit(entries, "documents_per_hour", complaints),
        comparisons_per_hour=_limit(entries, "comparisons_per_hour", complaints),
        break_glass=_flag(entries, "break_glass", complaints),
        deletes=_flag(entries, "delete", complaints),
        issuer=_issuer(entries, complaints),
    )
    complaints.check()
    return role


def _listed(
    entries: Mapping[str, Node], key: str, read: Callable[[Node], T], complaints: Complaints
) -> tuple[T, ...]:
    """The items at `key` that can be read; of the others there are complaints."""
    found: list[T] = []
    with complaints.gathered():
        items = entries[key].items() if key in entries else ()
        if key in entries and not items:
            raise entries[key].error("an empty list", f"name at least one, or leave `{key}` out")
        for item in items:
            with complaints.gathered():
                found.append(read(item))
    return tuple(found)


def _issuer(entries: Mapping[str, Node], complaints: Complaints) -> str:
    """Empty without one."""
    if "issuer" not in entries:
        return ""
    node = entries["issuer"]
    if "certificates" not in entries and "require_certificate" not in entries:
        hint = "list `certificates`, or set `require_certificate: true`"
        complaints.add(node.error("no certificate that it could have signed", hint))
    return complaints.read(node.text, otherwise="")


def _limit(entries: Mapping[str, Node], key: str, complaints: Complaints) -> int | None:
    if key not in entries:
        return None
    return complaints.read(lambda: entries[key].integer(1, MAX_PER_HOUR), otherwise=1)


def _flag(entries: Mapping[str, Node], key: str, complaints: Complaints) -> bool:
    return key in entries and complaints.read(entries[key].boolean, otherwise=False)


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


def _classes(node: Node, classes: Collection[str] | None) -> tuple[dict[str, ClassAccess], ClassAccess]:
    found: dict[str, ClassAccess] = {}
    complaints = Complaints()
    for name, entry in node.mapping().items():
        if name != OTHERS and classes is not None and name not in classes:
            hint = f"one of: {', '.join(classes)}, or *"
            complaints.add(entry.error(f"'{name}' is no class of this policy", hint))
        with complaints.gathered():
            found[name] = _access(entry)
    complaints.check()
    if not found:
        raise node.error("no classes", 'name at least one class, or `"*"` for all')
    others = found.pop(OTHERS, NO_ACCESS)
    return found, others


def _access(node: Node) -> ClassAccess:
    complaints = Complaints()
    entries = node.entries([], ["read", "filter", "write"], complaints)
    read = complaints.read(lambda: _disclosure(entries["read"]) if "read" in entries else DENIED, DENIED)
    access = ClassAccess(read, _flag(entries, "filter", complaints), _flag(entries, "write", complaints))
    complaints.check()
    return access


def _disclosure(node: Node) -> Disclosure:
    if isinstance(node.value, Mapping):
        mask = node.entries(["mask"])["mask"].choice([mask.value for mask in Mask])
        return Disclosure(Level.MASKED, Mask(mask))
    return _LEVELS[node.choice(list(_LEVELS))]

"""The lines that a policy lacks: a class for each kind of field, and the paths that it should cover.

They are a beginning. Which fields are searched for by equality, and so need a deterministic class, their
owners know; what is suggested is what each kind is usually searched by.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import yaml

from sealwire.sidecars.coverage.fields import Cover
from sealwire.sidecars.coverage.likely import Personal
from sealwire.sidecars.coverage.reading import CollectionFields

_CLASSES: Final[Mapping[Personal, tuple[str, bool]]] = {
    Personal.EMAIL: ("email", True),
    Personal.NHS_NUMBER: ("nhs_number", True),
    Personal.NATIONAL_INSURANCE: ("national_insurance", True),
    Personal.NATIONAL_NUMBER: ("national_number", True),
    Personal.IBAN: ("iban", True),
    Personal.CARD: ("card", False),
    Personal.PHONE: ("phone", True),
    Personal.POSTCODE: ("postcode", False),
    Personal.IP_ADDRESS: ("ip_address", False),
    Personal.BIRTH_DATE: ("birth_date", False),
    Personal.SPECIAL: ("special_category", False),
    Personal.HEALTH: ("health", False),
    Personal.PERSON_NUMBER: ("person_number", True),
    Personal.NAME: ("person_name", False),
    Personal.ADDRESS: ("address", False),
    Personal.TRAIT: ("trait", False),
}
"""The name of a class, and whether such a field is usually searched by equality: identifiers are."""
_FREE_TEXT: Final = ("free_text", False)
"""A text is not searched by equality for what it contains."""


def suggested(found: Iterable[CollectionFields]) -> str:
    """YAML of `classes` and `collections`, to be merged into a policy; empty where nothing is missing.

    A path that a policy cannot name is a comment: `_id`, and one with a number or a dollar sign for a name.
    """
    classes: dict[str, dict[str, str]] = {}
    collections: dict[str, dict[str, str]] = {}
    left: list[str] = []
    for each in found:
        for field in each.fields:
            if field.cover is not Cover.PERSONAL or field.kind is None:
                continue
            if not _can_be_covered(field.path):
                left.append(f"# {each.namespace} {field.path!r} looks personal, and no policy can cover it\n")
                continue
            name, is_searched = _FREE_TEXT if field.in_text else _CLASSES[field.kind]
            settings = {"mode": "random"}
            if is_searched and field.value_type:
                settings = {"mode": "deterministic", "type": field.value_type}
                # one class has one type: fields of another are other fields
                name = name if field.value_type == "string" else f"{name}_{field.value_type}"
            classes[name] = settings
            collections.setdefault(each.namespace, {})[field.path] = name
    if not classes:
        return "".join(left)
    return "".join(left) + yaml.safe_dump(
        {"classes": classes, "collections": collections}, sort_keys=True, allow_unicode=True
    )


def _can_be_covered(path: str) -> bool:
    parts = path.split(".")
    return parts[0] != "_id" and not any(not part or part.startswith("$") or part.isdigit() for part in parts)

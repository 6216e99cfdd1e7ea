"""The policy file as an argument, and which person a command is about: an identifier, which is no argument.

Arguments are shown to every user of the machine, and stay in histories. An identifier is asked for.

What reads policies and values is imported when it is called: many commands read a policy only if they
are given one.
"""

import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sealwire.audit.pseudonyms import Identifier
from sealwire.cli.options import PRESENT_FILE, variable_option

if TYPE_CHECKING:
    from sealwire.policies.file.schema import FieldClass, PolicySet, Subjects, ValueType

policy_argument = click.argument("policy", type=PRESENT_FILE)


def read_policy(path: Path, *, may_observe: bool = False) -> "PolicySet":
    """A policy as it is written. Raises SourceError, PermissionProblem, and FileProblem.

    FileProblem also if some of it is only observed: most commands take for encrypted what it covers. Those
    that do not pass `may_observe`.
    """
    from sealwire.policies.file.loader import load_policy  # noqa: PLC0415
    from sealwire.proxy.server.errors import read_named_file  # noqa: PLC0415

    policies = load_policy(read_named_file(path, "the policy"), str(path))
    if not may_observe:
        require_protecting(policies, path)
    return policies


def require_protecting(policies: "PolicySet", path: Path) -> None:
    """Raises FileProblem if some of a policy is only observed."""
    from sealwire.proxy.server.errors import FileProblem, StartReason  # noqa: PLC0415

    if policies.observed:
        raise FileProblem(
            StartReason.POLICY_OBSERVED,
            f"{path}: {', '.join(policies.unprotected[:_MOST_NAMES])} and what else it says of them is only "
            "observed, so nothing there is encrypted",
            "take `mode: observe` and `observe` out of the policy, and reload every Sealwire first",
        )


_MOST_NAMES = 5


_MAX_CHARACTERS = 4096

subjects_key_option = variable_option(
    "--subjects-key",
    type=PRESENT_FILE,
    envvar="SEALWIRE_AUDIT_SUBJECTS_KEY",
    required=True,
    help="The key of pseudonyms, as audit.subjects_key names it.",
)


def subjects_of(policies: "PolicySet") -> "Subjects":
    """How the policy says whose data documents are; a usage error where it does not."""
    if policies.subjects is None:
        raise click.UsageError("the policy does not say whose data documents are: add its section `subjects`")
    return policies.subjects


def ask_identifier(policies: "PolicySet") -> Identifier:
    """The value that identifies the person: asked for on a terminal, else a line of standard input.

    Raises click.UsageError, which does not show it.
    """
    field_class = policies.classes[subjects_of(policies).class_name]
    if sys.stdin.isatty():
        text = str(click.prompt(f"Value of class {field_class.name}", hide_input=True, err=True))
    else:
        text = sys.stdin.readline(_MAX_CHARACTERS + 1).removesuffix("\n").removesuffix("\r")
    return identifier_of(text, field_class)


def identifier_of(text: str, field_class: "FieldClass") -> Identifier:
    """What `text` says, as a deterministic class stores it. Raises click.UsageError, without the text."""
    import bson  # noqa: PLC0415

    from sealwire.policies.file.coercion import coerce  # noqa: PLC0415
    from sealwire.wire.raw_bson import find_element  # noqa: PLC0415

    declared = field_class.value_type
    if not text or len(text) > _MAX_CHARACTERS:
        raise click.UsageError(
            "whose data? Give the identifier on a terminal, or as a line of standard input"
        )
    try:
        document = b"" if declared is None else bson.encode({"": bson_value(text, declared)})
        found = find_element(document, 0, b"") if document else None
    except (ValueError, OverflowError, bson.errors.BSONError):
        found = None
    if found is not None and declared is not None:
        value = coerce(found.kind, document[found.value : found.end], declared)
        if value is not None:
            return Identifier(declared.kind, value)
    name = "value" if declared is None else declared.value
    raise click.UsageError(f"the identifier is no {name}, which class {field_class.name} has")


def bson_value(text: str, declared: "ValueType") -> object:
    """What `text` says as a value of this type. Raises ValueError, OverflowError, BSONError."""
    import bson  # noqa: PLC0415
    from bson.binary import Binary, UuidRepresentation  # noqa: PLC0415

    from sealwire.policies.file.schema import ValueType  # noqa: PLC0415

    match declared:
        case ValueType.INT | ValueType.LONG:
            return bson.Int64(int(text))
        case ValueType.DOUBLE:
            return float(text)
        case ValueType.DATE:
            moment = datetime.fromisoformat(text)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        case ValueType.OBJECT_ID:
            return bson.ObjectId(text)
        case ValueType.BIN_DATA:
            return Binary.from_uuid(uuid.UUID(text), UuidRepresentation.STANDARD)
        case ValueType.STRING | ValueType.BOOL:
            return text

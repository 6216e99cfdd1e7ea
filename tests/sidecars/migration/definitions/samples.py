"""A clinic's paths that move, and from which version of their class to which."""

from collections.abc import Iterable
from typing import Any

from secantus.query import matches  # type: ignore[import-untyped]

from sealwire.crypto.cipher import ValueCipher
from sealwire.keys.frontier.frontier import ClassVersion
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import FieldClass, Mode, PathNode, PolicySet, ValueType
from sealwire.sidecars.migration.definitions.constants import ClassChange
from sealwire.sidecars.migration.definitions.server import Definition, DefinitionKind
from tests.keys.samples import NOW

Document = dict[str, Any]

NAME = FieldClass("name", Mode.DETERMINISTIC, ValueType.STRING)
AGE = FieldClass("age", Mode.DETERMINISTIC, ValueType.LONG)
NOTES = FieldClass("notes", Mode.RANDOM, None)
PATIENTS = "clinic.patients"
TREE = PathNode(
    "",
    {
        b"name": PathNode("name", leaf=NAME),
        b"kin": PathNode("kin", {b"name": PathNode("kin.name", leaf=NAME)}),
        b"age": PathNode("age", leaf=AGE),
    },
)
NOTES_TREE = PathNode(
    "",
    {
        b"notes": PathNode("notes", leaf=NOTES),
        b"visits": PathNode("visits", {b"text": PathNode("visits.text", leaf=NOTES)}),
    },
)
MOVED = PolicySet({"name": NAME, "age": AGE}, {PATIENTS: TREE})
MOVED_NOTES = PolicySet({"notes": NOTES}, {PATIENTS: NOTES_TREE})

KEYS = [
    DataKey("name", 7, version, state, NOW, bytes([version]) * 64, is_plaintext=version in {1, 4})
    for version, state in enumerate(
        (KeyState.DECRYPT_ONLY, KeyState.DECRYPT_ONLY, KeyState.ACTIVE, KeyState.PENDING), 1
    )
]
KEYRING = Keyring(KEYS)
CIPHER: ValueCipher = KEYRING.cipher_by_id(7, 3)
CLEAR, SECOND, THIRD, CLEAR_AGAIN = (
    ClassVersion(KEYRING.cipher_by_id(7, key.version), key.is_plaintext) for key in KEYS
)
ENCRYPTING = ClassChange.of_versions(KEYRING, CLEAR, SECOND)
TURNING = ClassChange.of_versions(KEYRING, SECOND, THIRD)
DECRYPTING = ClassChange.of_versions(KEYRING, THIRD, CLEAR_AGAIN)
HIDING = ClassChange(True, False, KEYRING)
SHOWING = ClassChange(False, True, KEYRING)
RESEALING = ClassChange(False, False, KEYRING)


def form(value: Any, change: ClassChange = ENCRYPTING, leaf: FieldClass = NAME) -> Any:
    """A value in clear, or an envelope, as the move stores it."""
    return change.renewed(value, leaf)


def moved(document: Document, paths: Iterable[str] = ("name", "kin", "age")) -> Document:
    """A document once the values at these top-level names are encrypted."""
    return {
        name: _moved(value, AGE if name == "age" else NAME) if name in paths else value
        for name, value in document.items()
    }


def _moved(value: Any, leaf: FieldClass) -> Any:
    if isinstance(value, list):
        return [_moved(each, leaf) for each in value]
    if isinstance(value, dict):
        return {name: _moved(each, leaf) if name == "name" else each for name, each in value.items()}
    return value if value is None or (leaf is NAME and not isinstance(value, str)) else form(value, leaf=leaf)


def holds(document: Document, chosen: Document) -> bool:
    """What a server says of a filter or validator, by the test server's own code."""
    return bool(matches(document, chosen))


class MemoryDefinitions:
    """A server's definitions in memory; `steps` tells what was done to them, and `die_at` ends one."""

    def __init__(self, found: Iterable[Definition]) -> None:
        self.found = list(found)
        self.steps: list[str] = []
        self.die_at = -1

    def read(self, namespaces: Iterable[str]) -> list[Definition]:
        wanted = set(namespaces)
        return [each for each in self.found if each.namespace in wanted or each.kind is DefinitionKind.VIEW]

    def make(self, definition: Definition) -> None:
        self._step(f"make {definition.name}")
        self.found = [each for each in self.found if not _is_same(each, definition)] + [definition]

    def drop_index(self, namespace: str, name: str) -> None:
        self._step(f"drop {name}")
        self.found = [each for each in self.found if (each.namespace, each.name) != (namespace, name)]

    def _step(self, what: str) -> None:
        if len(self.steps) == self.die_at:
            self.die_at = -1
            raise InterruptedError(what)
        self.steps.append(what)


def _is_same(one: Definition, other: Definition) -> bool:
    return (one.kind, one.namespace, one.name) == (other.kind, other.namespace, other.name)


def validator(content: Document) -> Definition:
    return Definition(DefinitionKind.VALIDATOR, PATIENTS, "validator", content)


def index(name: str, **options: Any) -> Definition:
    return Definition(DefinitionKind.INDEX, PATIENTS, name, {"v": 2, "name": name, **options})


def view(name: str, pipeline: list[Document], on: str = "patients") -> Definition:
    return Definition(DefinitionKind.VIEW, f"clinic.{name}", name, {"viewOn": on, "pipeline": pipeline})

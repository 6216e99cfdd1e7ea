"""YAML with its places: every node knows its line and column, so that every complaint can name them.

Anchors, aliases and duplicate keys are refused: the
first two can make a small file a huge one, the last hides one of two lines.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import yaml

from sealwire.files.errors import Complaints, SourceError

# A file of 10,000 lines is well below this; a larger one is a mistake.
MAX_SOURCE_BYTES = 1 << 20

_NUMBER_HINT = "write digits, without quotes"

_NUMBERS = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})
"""YAML 1.1 has numbers to the base of 60, such as 1:30, read in quadratic time. Here they are texts."""

Scalar = str | int | float | bool | date | None


@dataclass(frozen=True, slots=True)
class Node:
    """A YAML value and where it stands (line and column count from 1)."""

    filename: str
    line: int
    column: int
    value: "Scalar | Sequence[Node] | Mapping[str, Node]" = field(repr=False)
    key_place: tuple[int, int] | None = None
    """Line and column of the key, of a value in a mapping."""

    def error(self, problem: str, hint: str = "") -> SourceError:
        """A SourceError that points here, for the caller to raise."""
        return SourceError(self.filename, self.line, self.column, problem, hint)

    def mapping(self) -> "Mapping[str, Node]":
        """The entries of a mapping with any keys."""
        if not isinstance(self.value, Mapping):
            raise self.error("expected a mapping", "write `key: value` lines, indented alike")
        return self.value

    def entries(
        self,
        required: Collection[str],
        optional: Collection[str] = (),
        complaints: Complaints | None = None,
    ) -> "Mapping[str, Node]":
        """The entries of a mapping whose keys are known; refuses unknown and missing ones, all at once.

        With `complaints` those are kept there, and what can be judged is returned: without keys that are
        missing, and with what stands at a misspelt key at the one that is meant. The caller ends with
        `complaints.check()`.
        """
        found = self.mapping()
        known = [*required, *optional]
        entries: dict[str, Node] = {}
        own = Complaints() if complaints is None else complaints
        for key, node in found.items():
            if key in known:
                entries[key] = node
                continue
            close = _alike(key, known)
            hint = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(known)}"
            place = node.key_place or (node.line, node.column)
            own.add(SourceError(node.filename, *place, f"unknown key '{key}'", hint))
            if close and close[0] not in found:
                entries.setdefault(close[0], node)
        for key in required:
            if key not in entries:
                own.add(self.error(f"missing key '{key}'", f"add `{key}:` here"))
        if complaints is None:
            own.check()
        return entries

    def items(self) -> "Sequence[Node]":
        """The items of a list."""
        if not isinstance(self.value, list):
            raise self.error("expected a list", "write `- item` lines or [a, b]")
        return self.value

    def text(self) -> str:
        """A non-empty string."""
        if not isinstance(self.value, str) or not self.value:
            raise self.error("expected a non-empty string", "put it in quotes if it looks like a number")
        return self.value

    def choice(self, choices: Collection[str]) -> str:
        """One of some words."""
        word = self.text()
        if word not in choices:
            close = _alike(word, choices)
            hint = f"did you mean '{close[0]}'?" if close else f"one of: {', '.join(choices)}"
            raise self.error(f"'{word}' is not known here", hint)
        return word

    def integer(self, low: int, high: int) -> int:
        """An integer within bounds, both included."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or not low <= self.value <= high:
            if low == high:
                raise self.error(f"expected {low}", "no other value is known")
            raise self.error(f"expected a whole number from {low} to {high}", _NUMBER_HINT)
        return self.value

    def number(self, low: float, high: float) -> float:
        """A number within bounds, both included."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.error(f"expected a number from {low} to {high}", _NUMBER_HINT)
        return float(value)

    def boolean(self) -> bool:
        """true or false."""
        if not isinstance(self.value, bool):
            raise self.error("expected true or false", "write one of the two, without quotes")
        return self.value

    def day(self) -> date:
        """A date as YAML writes it, YYYY-MM-DD."""
        if type(self.value) is not date:
            raise self.error("expected a date", "write it as 1900-01-31, without quotes")
        return self.value


def _alike(word: str, known: Collection[str]) -> list[str]:
    from difflib import get_close_matches  # noqa: PLC0415 - for a mistake alone

    return get_close_matches(word, known, n=1)


def parse_yaml(source: bytes, filename: str, manual: str) -> Node:
    """The one document in `source` as a tree of nodes; `manual` is the page that shows the file's shape.

    Raises SourceError.
    """
    if len(source) > MAX_SOURCE_BYTES:
        raise SourceError(
            filename, 1, 1, f"the file is larger than {MAX_SOURCE_BYTES} bytes", "name the right file"
        )
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(source)
        root = loader.get_single_node()
        if root is None:
            raise SourceError(filename, 1, 1, "the file is empty", f"see {manual} for an example")
        complaints = Complaints()
        tree = _convert(loader, root, filename, set(), complaints)
        complaints.check()
        return tree
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise SourceError(filename, line, column, f"not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise SourceError(filename, 1, 1, "not readable as YAML", "save the file as UTF-8 text") from None
    except (ValueError, OverflowError):
        # PyYAML hands an escape such as "\UFFFFFFFF" to chr() unchecked
        raise SourceError(filename, 1, 1, "an escape names no character", "write it as UTF-8") from None
    except RecursionError:
        raise SourceError(filename, 1, 1, "nested too deeply", f"see {manual} for the shape") from None
    finally:
        if loader is not None:
            loader.dispose()


def _convert(
    loader: yaml.SafeLoader, node: yaml.Node, filename: str, seen: set[int], complaints: Complaints
) -> Node:
    line, column = node.start_mark.line + 1, node.start_mark.column + 1
    if id(node) in seen:
        raise SourceError(filename, line, column, "anchors and aliases are not supported", "write it out")
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        entries: dict[str, Node] = {}
        for key_node, value_node in node.value:
            value = _convert(loader, value_node, filename, seen, complaints)
            with complaints.gathered():
                key = _key(loader, key_node, filename, entries)
                mark = key_node.start_mark
                entries[key] = replace(value, key_place=(mark.line + 1, mark.column + 1))
        return Node(filename, line, column, entries)
    if isinstance(node, yaml.SequenceNode):
        items = [_convert(loader, item, filename, seen, complaints) for item in node.value]
        return Node(filename, line, column, items)
    value_here = complaints.read(lambda: _scalar(loader, node, filename), None)
    return Node(filename, line, column, value_here)


def _key(loader: yaml.SafeLoader, node: yaml.Node, filename: str, before: Collection[str]) -> str:
    line, column = node.start_mark.line + 1, node.start_mark.column + 1
    key = _scalar(loader, node, filename) if isinstance(node, yaml.ScalarNode) else None
    if not isinstance(key, str):
        raise SourceError(filename, line, column, "keys must be strings", "put it in quotes")
    if key in before:
        raise SourceError(filename, line, column, f"duplicate key '{key}'", "remove one")
    return key


def _scalar(loader: yaml.SafeLoader, node: yaml.Node, filename: str) -> Scalar:
    if isinstance(node, yaml.ScalarNode) and ":" in node.value and node.tag in _NUMBERS:
        return str(node.value)
    try:
        value: Scalar = loader.construct_object(node)
    except (ValueError, LookupError, AttributeError, OverflowError, yaml.YAMLError):
        # PyYAML's constructors trust the tag: each fails in its own way on a text that does not fit it
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        raise SourceError(
            filename, line, column, "this value cannot be read", "put it in quotes if it is a text"
        ) from None
    return value

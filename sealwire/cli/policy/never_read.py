"""Which covered fields nobody reads or searches by, as far as an audit log goes back: why are they kept?"""

from collections.abc import Iterable, Mapping
from typing import Final, final

import click

from sealwire.policies.file.schema import PolicySet, leaves

_USES: Final = ("read", "filtered")


@final
class ReadClasses:
    """The classes of which values were shown or compared with, by collection.

    A line says of which collection a command was, and of which classes values were shown, not at which path.
    What a join or a view has shown is taken for read in every collection that has the class.
    """

    def __init__(self, lines: Iterable[Mapping[str, object] | None], policies: PolicySet) -> None:
        """From the lines of a log; a usage error where it has no command. Cost: O(lines)."""
        self._read: set[tuple[str, str]] = set()
        self._anywhere: set[str] = set()
        self.since = ""
        """When the first command was recorded: its time, as the log has it."""
        covered: dict[str, frozenset[str]] = {}
        for line in lines:
            if line is None or line.get("event") != "command":
                continue
            self.since = self.since or str(line.get("time", ""))
            namespace = str(line.get("namespace", ""))
            if namespace not in covered:
                covered[namespace] = _classes(policies, namespace)
            for use in _USES:
                counts = line.get(use)
                if isinstance(counts, dict):
                    self._take(namespace, counts, covered[namespace])
        if not self.since:
            raise click.UsageError("the audit log has no command: set audit.commands to protected, and wait")

    def has(self, namespace: str, class_name: str) -> bool:
        """Whether a value of this class, of this collection, may have been shown or compared with."""
        return class_name in self._anywhere or (namespace, class_name) in self._read

    def _take(self, namespace: str, counts: Mapping[str, object], covered: frozenset[str]) -> None:
        for name in counts:
            if name in covered:
                self._read.add((namespace, name))
            else:
                self._anywhere.add(name)


def _classes(policies: PolicySet, namespace: str) -> frozenset[str]:
    tree = policies.covered(namespace)
    return frozenset() if tree is None else frozenset(n.leaf.name for n in leaves(tree) if n.leaf is not None)

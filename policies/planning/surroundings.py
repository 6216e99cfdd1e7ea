"""What a pipeline may refer to beside its own documents."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.foreign_names import Namespace


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The collections and views that a command can name, and the database in which it runs."""

    covered: Callable[[str], PathNode | None]
    """The covered paths of what is read under a name, of a collection or a view; None when nothing is."""
    database: str

    def tree(self, namespace: Namespace) -> PathNode:
        """The covered paths of a collection that a stage names; empty when it is not protected."""
        return self.covered(".".join(namespace)) or NOTHING

    def protected_in(self, namespaces: Iterable[Namespace]) -> str | None:
        """The first of some namespaces that is protected."""
        names = (".".join(namespace) for namespace in namespaces)
        return next((name for name in names if self.covered(name) is not None), None)


def _nothing(namespace: str) -> PathNode | None:
    del namespace
    return None


NO_SURROUNDINGS: Final = Surroundings(_nothing, "")
"""What surrounds a command without a pipeline."""

"""Constants that a command binds to variables: `let`, and the `c` of an update statement.

An expression names one as `$$name`. One that is only compared with, or stored at, covered paths of one class
is covered as if it stood there itself. One that is used in clear as well, or for two classes, is refused.
"""

from dataclasses import dataclass, field

from sealwire.policies.file.schema import PathNode
from sealwire.wire.raw_bson import Element


@dataclass(slots=True)
class Constant:
    """One variable: where its value stands, and what the command's expressions do with it."""

    element: Element
    parents: tuple[int, ...]
    literal: bool = False
    """Whether the server takes the value as it is; otherwise it is an expression."""
    seen: set[int] = field(default_factory=set)
    """Offsets of the references that mean this variable, and no other of its name."""
    covered: set[int] = field(default_factory=set)
    """Of those, the ones that are compared with `node`'s values, or stored there."""
    node: PathNode | None = None
    stores: bool = False
    """Whether it is stored somewhere, so that it must be storable."""

"""A base for objects that hold key material and must not be serialised by accident."""

from typing import NoReturn


class Unpicklable:
    """Refuses pickle, copy and deepcopy, which all pass through `__reduce_ex__`.

    A pickled key would travel to another process, a cache or a crash report in clear.
    """

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        refuse_to_serialise(self)


def refuse_to_serialise(holder: object) -> NoReturn:
    """For the `__reduce_ex__` of a compiled class, which cannot have this base. Raises TypeError."""
    raise TypeError(f"{type(holder).__name__} holds key material and is never serialised or copied")

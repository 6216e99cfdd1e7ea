"""Sealwire: a MongoDB transparent encryption proxy.

Unchanged applications change one connection string; the database holds only ciphertext. The rooms lie at the
repository root and are installed below this package: wire, crypto, policies, keys, proxy, sidecars; see
docs/ENCRYPTION_ARCHITECTURE.md for what each owns and which way imports point.
"""

from typing import TYPE_CHECKING

__version__: str

if not TYPE_CHECKING:  # for a type checker it would make every name of this module a text

    def __getattr__(name: str) -> str:
        """`__version__` is read from the installation when it is asked for, which few commands do: 15 ms."""
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib.metadata import version  # noqa: PLC0415 - as it says

        return version("sealwire")


def core_is_compiled() -> bool:
    """Whether the data path runs compiled; else it runs from the same sources, plain (docs/adr/0020)."""
    from sealwire.wire import raw_bson  # noqa: PLC0415 - the package itself imports no room

    return not str(raw_bson.__file__).endswith(".py")


def short_siv_is_in_use() -> bool:
    """Whether this build arranges AES-SIV of short values itself (docs/adr/0021)."""
    from sealwire.crypto.short_siv import IS_IN_USE  # noqa: PLC0415 - the package itself imports no room

    return IS_IN_USE


def core_name() -> str:
    """What runs in the data path, as `--version` says it."""
    core = "compiled core" if core_is_compiled() else "plain core"
    return f"{core}, short AES-SIV" if short_siv_is_in_use() else core


def from_lock(name: str) -> str:
    """How to install the libraries of a lock in `requirements/`, for hints. `sealwire` is no name on PyPI."""
    return f"pip install --require-hashes -r requirements/{name}.txt"

"""Sealwire: a MongoDB transparent encryption proxy.

Unchanged applications change one connection string; the database holds only ciphertext. The rooms lie at the
repository root and are installed below this package: wire, crypto, policies, keys, proxy, sidecars; see
docs/ENCRYPTION_ARCHITECTURE.md for what each owns and which way imports point.
"""

from importlib.metadata import version

__version__ = version("sealwire")


def core_is_compiled() -> bool:
    """Whether the data path runs compiled; else it runs from the same sources, plain (docs/adr/0020)."""
    from sealwire.wire import raw_bson  # noqa: PLC0415 - the package itself imports no room

    return not str(raw_bson.__file__).endswith(".py")

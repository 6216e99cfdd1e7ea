"""Sealwire: a MongoDB transparent encryption proxy.

Unchanged applications change one connection string; the database holds only ciphertext. The rooms lie at the
repository root and are installed below this package: wire, crypto, policies, keys, proxy; see
docs/ENCRYPTION_ARCHITECTURE.md for what each owns and which way imports point.
"""

from importlib.metadata import version

__version__ = version("sealwire")

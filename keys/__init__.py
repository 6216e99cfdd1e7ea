"""Which key a class has, whether it may be used, and where it lies wrapped.

Owns the rooms `keyring` (data keys, the runtime keyring, its record and stores), `kek` (key-encryption keys
and where they come from) and `vault`, and the rules for files that hold secrets.

The walk: `providers.Providers` makes a `kek.kek.KeyEncryptionKey` and a `keyring.store.KeyringStore` from
settings; `keyring.file.load_keyring` reads the store, checks the keyring and unwraps every data key; the
`keyring.keyring.Keyring` it returns answers `cipher_for(class name)` and `cipher_by_id(class id, version)`
from memory. Deriving from a passphrase happens once, in the KEK's constructor, so that loading again is
cheap. `vault` is loaded only where a setting names it.

May not import: policies, proxy, asyncio, logging. Only `kek/kek.py` does, to turn off what libraries
log. Of the rooms it uses crypto, and of wire the numbers of BSON's types. Keys never leave in a repr, an
exception or a pickle. Python cannot wipe memory: whoever reads this process's memory has the keys.
Specifications: docs/operations/keys.md; RFC 5297 (key wrapping); RFC 5869; RFC 7914.
"""

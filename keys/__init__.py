"""Which key a class has, whether it may be used, and where it lies wrapped.

Owns: data keys and their states, the runtime keyring, the keyring file, key-encryption keys (KEKs) and where
they come from, and the rules for files that hold secrets.

The walk: `providers.open_kek` makes a `kek.KeyEncryptionKey` from a setting; `keyring_file.load_keyring`
reads the file, checks it as a whole and unwraps every data key; the `keyring.Keyring` it returns answers
`cipher_for(class name)` and `cipher_by_id(class id, version)` from memory. Deriving from a passphrase
happens once, in the KEK's constructor, so that loading again is cheap.

May not import: wire, policies, proxy, asyncio, logging. Of the rooms it uses crypto. Keys never leave in a
repr, an exception or a pickle. Python cannot wipe memory: whoever reads this process's memory has the keys.
Specifications: docs/operations/keys.md; RFC 5297 (key wrapping); RFC 5869; RFC 7914.
"""

"""Data keys and the keyring that holds them: at run time, as a wrapped record, in its stores, and in a cache.

Owns: `keyring.Keyring` (which key a class has, from memory), `file.load_keyring` (a store's record, checked
and unwrapped), `turning.rotate` (a new key for a class), `turning.borrow` (the key of another class for it;
`record.broken_loans` says what that rules out), `data_key.KEY_MOVES` (what a key may become) and `source`
(where a running proxy gets a newer keyring, and the cache that it starts from while the KEK is away).

May not import: keys.vault, keys.providers.
"""

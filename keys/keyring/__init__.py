"""Data keys and the keyring that holds them: at run time, as a wrapped record, in its stores, and in a cache.

Owns: `keyring.Keyring` (which key a class has, from memory), `file.load_keyring` (a store's record, checked
and unwrapped), `turning.rotate` (a new key for a class), `borrowing.borrow` (the key of another class for it)
and `lending` (what that rules out), `states` (what a key may become), `source` (where a running proxy gets a
newer keyring) and `cache` (what it starts from while the KEK is away).

May not import: keys.vault, keys.providers.
"""

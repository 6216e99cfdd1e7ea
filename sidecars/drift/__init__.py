"""Finds stored values that are not what policy and keyring say: plaintext, foreign keys, misspelt paths.

Walk: `scan.read_collection` reads documents as they are stored, `scan.Census` counts their covered values by
path, and `scan.Keys` judges each. `commands` is `sealwire policy drift`. Of the rooms it uses policies, keys
(the keyring's record, the store of context keys), crypto (the header) and wire.

May not import: asyncio; proxy, but for its commands. No value is ever in what it returns.
"""

"""Finds stored values that are not what policy and keyring say: plaintext, foreign keys, misspelt paths.

Walk: `scan.read_collection` reads documents as they are stored, `scan.Census` counts their covered
values by path, and `condition.Keys` judges each. If the store of context keys is at hand,
`scan.ContextJudge` sees whose an envelope is. Nothing is decrypted: an envelope's header says its class
and key version. Of the rooms it uses policies, keys (the keyring's record, the store of context keys), crypto
(the header) and wire.

May not import: proxy, asyncio. No value is ever in what it returns.
"""

"""Finds stored values that are not what policy and keyring say: plaintext, foreign keys, misspelt paths.

Walk: `scan.scan` reads the documents of one collection as they are stored and judges each covered value by
`condition.Keys`. Nothing is decrypted: an envelope's header says its class and key version. Of the rooms it
uses policies, keys (the keyring's record), crypto (the header) and wire.

May not import: proxy, asyncio. No value is ever in what it returns.
"""

"""Keys of contexts: one for each tenant, patient or database of a class, kept in a store of their own.

May not import: keys.vault, keys.frontier.
Walk: `store.ContextRow` is what a store keeps, `store.ContextStore` what it can do, `sqlite_store` the one
in a file; the one in Vault, which several hosts share, is `vault.context_store`, outside of this room.
`resolver` makes and opens rows, and its `Resolver` finds or makes the keys that somebody wants,
`cache.ContextCache` holds them for the sessions of a process, and `shredding` destroys them. `transfer`
moves all of them to another store, which each store's `mark` tells everybody.
"""

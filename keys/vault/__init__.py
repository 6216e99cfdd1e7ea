"""HashiCorp Vault or OpenBao as the place of the key-encryption key and of the keyring.

Owns: the way there, tokens and their lives, and what answers mean (`settings`, `connection`), a KEK in the
transit engine (`transit`), a keyring, or a text that people keep, in a KV version 2 engine (`kv`), and keys
of contexts (`context_store`, made of `context_documents`).

The walk: `settings.vault_settings` says where and as whom; a `connection.VaultConnection` made from it runs
every operation under a living token and within a deadline; `TransitKek`, `KvStore` and `VaultContextStore`
are built on one, the stores with the check-and-set of `kv.put_document`.
Only this package imports hvac and urllib3, beside the OpenBao that the testbed starts.

May not import: wire, policies, proxy, asyncio, logging. Everything blocks: the event loop calls none of it.
"""

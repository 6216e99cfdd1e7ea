"""Makes the server itself reject plaintext where the policy covers a path: validators, counted and changed.

Owns: `validators`, the `$jsonSchema` that only envelopes satisfy. Of the rooms it uses policies.

May not import: wire, proxy, keys, crypto, asyncio.
"""

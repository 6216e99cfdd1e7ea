"""Makes the server itself reject plaintext where the policy covers a path: validators, counted and changed.

Walk: `sidecars.covered` finds what the policy covers on a server, `change.plan_install` and
`change.plan_removal` decide what each collection needs, and `change.carry_out` does it. `validators` is the
`$jsonSchema` that only envelopes satisfy. Of the rooms it uses policies.

May not import: wire, proxy, keys, crypto, asyncio.
"""

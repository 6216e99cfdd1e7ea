"""Makes the server itself reject plaintext where the policy covers a path: validators, counted and changed.

Walk: `sidecars.covered` finds what the policy covers on a server, `validators.plan_install` and
`validators.plan_removal` decide what each collection needs, and `validators.carry_out` does it. `commands` is
`sealwire policy enforce`. Of the rooms it uses policies.

May not import: wire, keys, crypto, asyncio; proxy, but for its commands.
"""

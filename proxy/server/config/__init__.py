"""The proxy's settings: sealwire.yaml and its overrides, frozen, and the policy file read as it stands.

Owns: `settings.Config`; `settings.SETTINGS`, the table of all keys; `rows.Setting`, the form of its rows;
`reader.load_config`, which reads a file and its overrides; `sections.read_part` and what a section says as a
whole; `rows.load_admin_door`, for commands that only ask a running proxy; which settings wait for a restart
(`settings.changed`); what sessions are told of them (`policy_file`).

May not import: proxy.server.connections, proxy.server.workers, asyncio.
"""

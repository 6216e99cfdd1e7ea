"""The proxy's settings: sealwire.yaml and its overrides, frozen, and the policy file read as it stands.

Owns: `settings.Config`; `settings.SETTINGS`, the table of all keys; `reader.load_config`, which reads a file
and its overrides; `sections.read_part` and what a section says as a whole; which settings wait for a restart
(`settings.changed`); what sessions are told of them (`policy_file`).

May not import: proxy.server.connections, proxy.server.workers, asyncio.
"""

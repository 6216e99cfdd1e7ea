"""The proxy's settings: sealwire.yaml and its overrides, frozen, and the policy file read as it stands.

Owns: `settings.Config`, `reader.load_config` with a module for each group of keys (`*_names`), variables that
stand for keys (`overrides`), which settings a reload can change (`restart_keys`), and what sessions are told
of them (`policy_file`).

May not import: proxy.server.connections, proxy.server.workers, asyncio.
"""

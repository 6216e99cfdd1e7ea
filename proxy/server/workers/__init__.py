"""One process that serves, from its start to its end: by itself, or as a worker below a supervisor.

Owns: `start` (what is read and checked before), `app.Proxy` (from start to drain, alone or as a worker),
`reload` (what is in force, and what is read anew), `pulse` (what it does each second), and `worker_channel`,
by which supervisor and workers speak.

May not import: cryptography, hvac, proxy.server.supervisor.
"""

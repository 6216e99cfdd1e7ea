"""One process that serves, from its start to its end: by itself, or as a worker below a supervisor.

Owns: `start` (what is read and checked before), `app.Proxy` (from start to drain), `in_force` (what counts in
it), `reload` (what is read anew), `pulse` (what it does each second); `worker` (the same below a supervisor)
and `worker_channel`, by which the two speak.

May not import: cryptography, hvac, proxy.server.supervisor.
"""

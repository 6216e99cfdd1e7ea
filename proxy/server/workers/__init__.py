"""Starting, watching, reloading and ending: one process that serves, or several under a supervisor.

Owns: `app.Proxy` (one process from start to drain), `worker` (the same below a supervisor), `supervisor`
(starts and restarts workers, as `roster` decides), and `reload`.

May not import: cryptography, hvac.
"""

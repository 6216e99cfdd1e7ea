"""Starting, watching, reloading and ending: one process that serves, or several under a supervisor.

Owns: `app.Proxy` (one process from start to drain), `in_force` (what counts in it), `reload` (what is read
anew), `pulse` (what it does each second); `worker` (the same below a supervisor), `supervisor` (starts and
restarts workers, as `roster` decides), and what that has of them: `processes`, `member_ports` and `asking`.

May not import: cryptography, hvac.
"""

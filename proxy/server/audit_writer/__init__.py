"""The process that writes the audit log, and how records reach it without a wait.

Owns the memory that a worker and the writer share (`ring`), the form of a record in it (`records`), the
worker's end (`sink`), the writer itself (`main`), and who starts it and starts it again
(`keeper`).

The walk: `sink.RingAudit` puts a record into its ring, which costs no call of the system while the writer is
awake; `main.AuditWriter` takes what lies in all rings, appends it to the log in one go, and only then gives
the room back. The rings belong to no single process: a worker or the writer may be killed at any point, and
whoever comes after it goes on with what lies there.

May not import: cryptography, hvac. `main` is a program of its own and sees no policy and no data key.
"""

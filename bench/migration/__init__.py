"""What a migration costs: a job's own rate and memory, and what an application notices of it.

`alone` runs the product's job against `held`, a process that holds as many documents as are wanted and does
with them what the job asks. `beside` runs the command itself on the real test server, with an application
behind a proxy. `subject` is what both move.
"""

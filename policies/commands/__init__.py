"""Whole commands: bytes in, a plan or a refusal out.

Owns: `planner.plan_command`, the tables of commands (`data_commands`, `administration`,
`definitions`), the commands that are known to carry no values (`passed_commands`), what the server has said
of names (`views`), and `planner.MATRIX`, which gathers all tables for docs/commands.md.

May not import: crypto, keys, proxy.
"""

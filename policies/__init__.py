"""Decides what must be encrypted and what must be refused; changes no bytes.

Owns the rooms, from the bottom up: `file` (what the policy says), `planning` (plans, walks, arguments),
`expressions`, `filters`, `updates`, `aggregation`, `commands`. Each imports only those before it.

The walk: `file.loader.load_policy` -> `file.schema.PolicySet`; `commands.planner.plan_command` ->
`filters`, `updates`, `aggregation` -> `planning.plan.Plan`, or an `errors.Refusal`. What an operator, stage
or command does is a row of `planning.rules.Rule` in its family's table; `commands.planner.MATRIX` gathers
the tables, and docs/commands.md is printed from it.

May not import: crypto, keys, proxy, asyncio, socket, ssl, time, logging; the loader takes bytes, not paths.
"""

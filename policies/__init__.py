"""Decides what must be encrypted and what must be refused; changes no bytes.

Owns: the policy file and its frozen form (`schema.PolicySet`), the covered paths (`schema.PathNode`), and the
planner: one command's bytes in, a `plan.Plan` out, or an `errors.Refusal`. One module a family: filters,
updates, documents, pipelines, joins, expressions, views, commands.

The walk: `loader.load_policy` -> `schema.PolicySet`; `planner.plan_command` -> `commands` -> `filters`,
`updates`, `pipelines` -> `plan.Plan`. What an operator, stage or command does is a row of `rules.Rule` in its
family's table; `matrix.MATRIX` gathers the tables, and docs/commands.md is printed from it.

May not import: crypto, keys, proxy, asyncio, socket, ssl, time, logging; the loader takes bytes, not paths.
"""

"""Decides what must be encrypted and what must be refused; changes no bytes.

Owns: the policy file and its frozen form (`schema.PolicySet`), the covered paths (`paths.PathNode`), and the
planner: one command's bytes in, a `plan.Plan` out, or a `Refusal`. One module a family: filters, updates,
documents, pipelines, expressions, commands.

The walk: `loader.load_policy` -> `schema.PolicySet`; `planner.plan_command` -> `commands` -> `filters`,
`updates`, `pipelines` -> `plan.Plan`.

May not import: crypto, keys, proxy, asyncio, socket, ssl, time, logging; the loader takes bytes, not paths.
"""

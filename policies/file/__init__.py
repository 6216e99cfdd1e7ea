"""What the policy file says, frozen: classes, covered paths, ranges, and the views that sessions know.

Owns: `loader.load_policy` (bytes -> `schema.PolicySet`), the classes' types, ranges and coercion, the
covered paths of a collection (`schema.PathNode`), the walk of a stored document to its covered values
(`stored.StoredValues`), and `lint`, which warns of weak choices.

May not import: policies.planning, policies.expressions, policies.filters, policies.updates,
policies.aggregation, policies.commands.
"""

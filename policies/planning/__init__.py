"""What planning one command needs whatever the command: the plan, its walk, arguments, names, budgets.

Owns: `plan` (what is to be done to the bytes), `trees` (what is known of documents at a point of a
pipeline), the readers of arguments and numbers, the signatures that operators are checked against, the rows
(`rules.Rule`) that tables are made of, and how a document's covered values are found (`values`).

May not import: policies.expressions, policies.filters, policies.updates, policies.aggregation,
policies.commands.
"""

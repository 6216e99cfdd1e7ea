"""Aggregation expressions: what class a result has, and what may be compared, stored or forwarded.

Owns: the table of expression operators, variables and what they hold, and operands: where a value comes from
and what it is encrypted as.

May not import: policies.filters, policies.updates, policies.aggregation, policies.commands.
"""

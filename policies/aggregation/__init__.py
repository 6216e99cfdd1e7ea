"""Pipelines: stage by stage, what documents hold after it, and what it may do with covered fields.

Owns: the table of stages (`stages`), how one follows the other (`pipelines`), and the stages' own rules
(grouping, joins, outputs, projections).

May not import: policies.commands.
"""

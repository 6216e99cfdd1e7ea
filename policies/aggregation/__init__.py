"""Pipelines: stage by stage, what documents hold after it, and what it may do with covered fields.

Owns: the table of stages (`pipelines`), the stages' own rules (grouping, joins, outputs,
projections), and views (`views`), which are pipelines that the server stores.

May not import: policies.commands.
"""

"""What an update writes: update operators, replacements, and pipeline updates.

Owns: the table of update operators (`updates`) and that of pipeline updates' stages (`update_pipelines`).

May not import: policies.aggregation, policies.commands.
"""

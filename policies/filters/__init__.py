"""What a filter says: which conditions are encrypted, which pass, which are refused.

Owns: the table of filter operators (`filters`), and what index hints and bounds say of covered fields.

May not import: policies.updates, policies.aggregation, policies.commands.
"""

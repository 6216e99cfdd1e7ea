"""Roles: who may see, filter by and write values of which class. Decides, and knows no command.

Owns: `reader.read_roles`, the policy file's `roles`; `role.Roles`, from who a client is to its
`role.Rights`; `masks.masked`, what is shown of a value in its place.

May not import: policies.file, policies.planning, or anything above them.
"""

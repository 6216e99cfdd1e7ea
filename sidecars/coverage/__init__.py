"""Finds fields that look personal and are not covered, and says which are.

Walk: `fields.read_fields` reads documents as they are stored, `fields.FieldCounts` counts what their values
look like by path, asking `likely`, and judges each path by what the policy says of it.
`fields.suggested` is the lines that a policy lacks. Of the rooms it uses policies and crypto (the
marker).

May not import: proxy, keys, asyncio. No value is ever in what it returns.
"""

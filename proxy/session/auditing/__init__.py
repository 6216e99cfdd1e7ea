"""What a command and its reply have to do with protected classes and with persons, for the audit log.

`commands` decides which commands are on record and puts the record together: `subjects` counts what a command
stores and compares, and tells whom it names; `answers` reads what came of it, and whose documents were shown.
None of it runs where the settings ask for no record. Values are looked at and never kept: what leaves are
counts and pseudonyms.
"""

"""What is right and wrong about what was seen: the rules, and which of them a server breaks.

Owns: `rules.RULES` and what an operator changes of them, `findings.judge`.

May not import: sidecars.tls_check.verify, sidecars.tls_check.report.
"""

"""Certificates: what one says, who may vouch for it, and whether it was revoked.

Owns: `certificate.describe`, `trust.load_trust`, `revocation.check_revocation`.

May not import: sidecars.tls_check.connection, sidecars.tls_check.facts, sidecars.tls_check.verify,
sidecars.tls_check.judging, sidecars.tls_check.report.
"""

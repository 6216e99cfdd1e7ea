"""What a deployment was found to be, held against what law and principles ask: rows, findings, reports.

Nothing here looks at anything: `sealwire.cli.compliance` does, with the other sidecars, and gives findings.

May not import: proxy.session, other sidecars.
"""

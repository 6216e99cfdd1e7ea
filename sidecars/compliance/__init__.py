"""What a deployment was found to be, held against what law and principles ask: rows, findings, reports.

`commands`, `deployment` and the checks look at a deployment, with the other sidecars and the proxy's reader.
The rest looks at nothing, and imports no other sidecar.
"""

"""What people and programs are shown of a check: a report in JSON, a page in HTML, metrics for Prometheus.

Owns: `report.make_report`, `page.to_html`, `metrics.TlsMetrics`, and the writing of files, whole or not at
all.

May not import: sidecars.tls_check.verify.
"""

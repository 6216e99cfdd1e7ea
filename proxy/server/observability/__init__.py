"""What an operator sees of a running proxy: log lines, metrics, counts, the audit sink.

May not import: proxy.server.config, proxy.server.connections, proxy.server.workers, policies, keys.
"""

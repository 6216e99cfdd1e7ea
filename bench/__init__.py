"""What Sealwire costs: `python -m bench`, under three minutes, ratios from one interleaved run.

Three routes to the same server are measured in turns: direct, through a bare byte forwarder (`forwarder`),
which is the floor for anything that stands in between, and through Sealwire. Two servers: the real one with
pymongo, and a server of recorded replies with raw sockets (`canned_server`), which answers so fast that the
ratio is an upper bound for the relative overhead. `micro` measures the core alone, in this process.

Absolute times are those of one machine; only ratios travel.
"""

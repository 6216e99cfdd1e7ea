"""How a proxy follows classes that move: its lease on the server, and the frontiers that it reads under it.

Owns: `feed`, which goes round; `lease` and `classes`, what is known and until when; `reading`, what the
server's documents say; `store`, the database they lie in.

May not import: cryptography, hvac, proxy.server.workers, proxy.server.connections.
"""

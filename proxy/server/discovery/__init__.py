"""Who the servers are: found by seeds or DNS, followed through elections and reconfigurations.

Owns: `view` (what their answers say together, which of them may be used, and which listener stands for which
member), `finder`, which asks them and DNS, and `monitor`, which does that about every ten
seconds. Whoever starts listeners, one process or a supervisor, has one and does what its layouts say. Whether
servers can be reached is another matter, which connections show (`observability.reach`).

May not import: cryptography, hvac, proxy.server.workers, proxy.server.connections.
"""

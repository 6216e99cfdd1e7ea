"""The page for people on the admin address: what a proxy knows of itself, for those who may see it.

Owns: `door` (what becomes of a request, without a socket), `answers` (what each answer says to browsers),
`access` (who is let in), `facts` (what policy and keyring say, as one text between processes), `readings`
(figures and how they change), and the sections: `standing` and `traffic` make `panels`, which the templates
write down.

May not import: cryptography, hvac, proxy.server.connections, proxy.server.workers.
"""

"""The two sides of a session: what becomes of a message of the client, and of one of the server.

Owns: `client_side.ClientSide`, which plans, sends on or refuses, and `awaiting`, what it then waits for;
`server_side.ServerSide`, which opens replies, and `handshake_replies`, which have our addresses; and
`look_up`, the question to the server on behalf of a command that waits: the client's side asks it, and the
server's side reads the answer.

May not import: proxy.session.session.
"""

"""The two sides of a session: what becomes of a message of the client, and of one of the server.

Owns: `client_side.ClientSide`, which plans, sends on or refuses; `server_side.ServerSide`, which opens
replies and gives handshakes our addresses; and `look_up`, the question to the server on behalf of a command
that waits: the client's side asks it, and the server's side reads the answer.

May not import: proxy.session.session.
"""

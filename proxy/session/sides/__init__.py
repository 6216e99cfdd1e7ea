"""The two sides of a session: what becomes of a message of the client, and of one of the server.

Owns: `client_side.ClientSide`, which plans, sends on or refuses; `server_side.ServerSide`, which opens
replies, and gives handshakes our addresses; and the questions that the client's side asks the server for a
command that waits: `questions.NamesAsked`, `questions.UsersAsked`, `questions.LoginAsked` and
`ask_values.ValuesAsked`. The server's side hands them their answers.

May not import: proxy.session.session.
"""

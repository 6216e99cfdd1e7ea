"""Commands while a class moves (`keys.frontier`) or is in clear: which form they take, what they hold up.

Owns the form of each value that is sent, what counts as a use of a class, and how long a use lasts. Nothing
here is asked while no class moves and none is in clear. May not import: the sides, rewriting, revealing.
"""

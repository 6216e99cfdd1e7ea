"""Commands while a class moves to another key (`keys.frontier`): which form they take, and what they hold up.

Owns the form of each value that is sent, what counts as a use of a class, and how long a use lasts. Nothing
here is asked while no class moves. May not import: the sides, rewriting, revealing.
"""

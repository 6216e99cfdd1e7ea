"""Tests of the sans-I/O core: scripts of conversations, and the rules of the core as properties."""

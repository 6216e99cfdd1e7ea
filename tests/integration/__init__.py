"""Tests with real servers, real drivers and sockets on this machine."""

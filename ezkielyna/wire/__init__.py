"""Sockets and bytes; knows nothing of money or models."""

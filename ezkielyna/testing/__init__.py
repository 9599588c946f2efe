"""The kit that plugin authors use: a pytest plugin with real sockets and a real database."""

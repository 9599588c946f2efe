"""Money that moves."""

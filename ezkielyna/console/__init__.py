"""Customer and operator pages."""

"""A load generator for any OpenAI-compatible address, and what it reports."""

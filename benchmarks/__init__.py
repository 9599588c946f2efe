"""What the gateway costs: a scripted upstream, a load generator, and one table beside nginx."""

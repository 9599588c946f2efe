"""The limiter and the billing policy that every installation has, registered like any plugin's."""

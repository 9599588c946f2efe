"""What every test here runs under."""

from hypothesis import HealthCheck, settings

from ezkielyna.testing.fixtures import io_loop

__all__ = ["io_loop"]  # a conftest's fixture wins over a plugin's: pytest-tornasync's is replaced

# A shared machine may take long over an example; that is no fault of the test.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

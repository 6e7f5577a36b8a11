"""What all tests share: how Hypothesis looks for examples."""

from hypothesis import HealthCheck, settings

# No deadline and no complaint of slowness: the machine may be busy, and no test here measures time.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
# The same, from another seed each time: `just test --hypothesis-profile=explore`.
settings.register_profile("explore", settings.get_profile("steady"), derandomize=False)
settings.load_profile("steady")

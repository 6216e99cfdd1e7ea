"""Settings for the whole test run."""

from hypothesis import HealthCheck, settings

# No verdict may hang on how busy the machine is: neither a deadline nor the speed of generating inputs.
settings.register_profile(
    "sealwire", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("sealwire")

"""Settings of all host tests."""

from hypothesis import settings

# The same examples in every run, and no time limit for one: machines are noisy.
settings.register_profile("project", derandomize=True, deadline=None)
settings.load_profile("project")

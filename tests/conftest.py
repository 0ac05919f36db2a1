"""Settings of all host tests, and what tests in several folders need."""

import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run, and no time limit for one: machines are noisy.
settings.register_profile("project", derandomize=True, deadline=None)
settings.load_profile("project")

# With --import-mode=importlib the test folders are no packages: load the marks by their path.
_SPEC = importlib.util.spec_from_file_location("needs", Path(__file__).with_name("needs.py"))
sys.modules[_SPEC.name] = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(sys.modules[_SPEC.name])


@pytest.fixture(scope="session")
def libvfio_user():
    """Skips the test where the library that device processes load was not made."""
    from tlsnic.qemu.parts import PartError, libvfio_user_path  # noqa: PLC0415 - slow to import

    try:
        libvfio_user_path(make=False)
    except PartError as error:
        pytest.skip(f"libvfio-user is not there: {error}")

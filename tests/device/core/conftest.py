"""The `rig` fixture: a card on the bench."""

import importlib.util
import sys
from pathlib import Path

import pytest

# With --import-mode=importlib the test folders are no packages: load the bench by its path.
_SPEC = importlib.util.spec_from_file_location("rig", Path(__file__).with_name("rig.py"))
rig_module = importlib.util.module_from_spec(_SPEC)
sys.modules.setdefault(_SPEC.name, rig_module)
_SPEC.loader.exec_module(rig_module)


@pytest.fixture
def rig():
    return rig_module.Rig()


@pytest.fixture
def super_rig():
    """The wire takes super-frames."""
    return rig_module.Rig(super_frames=True)

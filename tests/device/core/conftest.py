"""The `rig` fixture: a card on the bench."""

import importlib.util
import sys
from pathlib import Path

import pytest


def _load(path):
    """With --import-mode=importlib the test folders are no packages: load helpers by their path."""
    if path.stem not in sys.modules:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        sys.modules[path.stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[path.stem])
    return sys.modules[path.stem]


_HERE = Path(__file__).parent
rig_module = _load(_HERE / "rig.py")
for _name in ("record_bench", "stream_bench", "tracker_bench"):
    _load(_HERE.parent / "tls" / f"{_name}.py")
_load(_HERE / "tls_rig.py")
_load(_HERE / "receive_rig.py")


@pytest.fixture
def rig():
    return rig_module.Rig()


@pytest.fixture
def super_rig():
    """The wire takes super-frames."""
    return rig_module.Rig(super_frames=True)

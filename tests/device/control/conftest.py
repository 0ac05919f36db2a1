"""Fixtures of the control tests: the core's benches, and an inspector on each."""

import importlib.util
import sys
from pathlib import Path

import pytest

_DEVICE = Path(__file__).parents[1]


def _load(path):
    """With --import-mode=importlib the test folders are no packages: load helpers by their path."""
    if path.stem not in sys.modules:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        sys.modules[path.stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[path.stem])
    return sys.modules[path.stem]


_load(_DEVICE / "core" / "rig.py")
for _name in ("record_bench", "stream_bench", "tracker_bench"):
    _load(_DEVICE / "tls" / f"{_name}.py")
_load(_DEVICE / "core" / "tls_rig.py")
_receive_rig = _load(_DEVICE / "core" / "receive_rig.py")


control_rig = _load(Path(__file__).parent / "control_rig.py")


@pytest.fixture
def rig():
    """A card with TLS in both directions."""
    return _receive_rig.ReceiveRig()


@pytest.fixture
def inspector(rig):
    return control_rig.inspector_of(rig)


@pytest.fixture
def call(inspector):
    """Calls a method of the card's inspector."""
    return lambda method, **params: inspector.call(method, params)

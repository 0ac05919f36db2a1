"""Fixtures of the shell's tests: a device that answers as documented, and a shell on it."""

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


_DEVICE = Path(__file__).parents[1]
_load(_DEVICE / "core" / "rig.py")
for _name in ("record_bench", "stream_bench", "tracker_bench"):
    _load(_DEVICE / "tls" / f"{_name}.py")
_load(_DEVICE / "core" / "tls_rig.py")
_load(_DEVICE / "core" / "receive_rig.py")
_load(_DEVICE / "control" / "control_rig.py")
shell_rig = _load(Path(__file__).parent / "shell_rig.py")


@pytest.fixture
def backend():
    return shell_rig.FakeBackend()


@pytest.fixture
def typed(backend):
    """A shell whose output is text for people, 100 columns wide."""
    return shell_rig.Typed(backend)

"""Loads the helpers of this folder, which is no package, under their own names."""

import importlib.util
import sys
from pathlib import Path

for _name in ("trace_rig",):
    if _name not in sys.modules:
        _spec = importlib.util.spec_from_file_location(_name, Path(__file__).parent / f"{_name}.py")
        sys.modules[_name] = importlib.util.module_from_spec(_spec)
        _spec.loader.exec_module(sys.modules[_name])

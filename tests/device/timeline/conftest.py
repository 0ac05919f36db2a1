"""Loads the helpers of this folder, which is no package, under their own names."""

import importlib.util
import sys
from pathlib import Path

for _path in sorted(Path(__file__).parent.glob("*_bench.py")):
    if _path.stem not in sys.modules:
        _spec = importlib.util.spec_from_file_location(_path.stem, _path)
        sys.modules[_path.stem] = importlib.util.module_from_spec(_spec)
        _spec.loader.exec_module(sys.modules[_path.stem])

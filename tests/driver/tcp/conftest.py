"""The helper of these tests, by its path: test folders are no packages."""

import importlib.util
import sys
from pathlib import Path

_SPEC = importlib.util.spec_from_file_location("tcp_link", Path(__file__).with_name("tcp_link.py"))
tcp_link = importlib.util.module_from_spec(_SPEC)
sys.modules.setdefault(_SPEC.name, tcp_link)
_SPEC.loader.exec_module(tcp_link)

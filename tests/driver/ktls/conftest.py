"""Sessions and streams of records, shared with the tests of send tags."""

import importlib.util
import sys
from pathlib import Path


def _load(name, folder="."):
    # With --import-mode=importlib the test folders are no packages: load helpers by their path.
    path = Path(__file__).parent / folder / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


_load("flows", "../tls")
_load("marked_stream", "../tls")
certificates = _load("test_handshake", "../tls").certificates
_load("test_software", "../tls")
_load("sending")
_load("tcp_link", "../tcp")
_load("core_card", "../tls")
_load("network")

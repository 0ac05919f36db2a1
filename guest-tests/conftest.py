"""The suite's way into pytest: its hooks and its fixtures, which `harness` has."""

import sys
from pathlib import Path

# Tests and harness are no installed package: a guest runs them from its read-only disk.
sys.path.insert(0, str(Path(__file__).parent))

from harness.fixtures import (  # noqa: F401 - fixtures are used by name
    bus,
    defer,
    environment,
    expect_diagnostic,
    flows,
    nic,
    nic_options,
    peer,
    scale,
    session_bus,
    watch,
)
from harness.ktls import host_network, network  # noqa: F401
from harness.plugin import pytest_addoption, pytest_configure  # noqa: F401
from harness.tls_raw import raw  # noqa: F401
from harness.tls_rx_flow import rx_flows  # noqa: F401

"""Commands as root in a user namespace."""

import os
import subprocess
import sys

import pytest

from tlsnic.qemu import userns


def run(*command, **options):
    return subprocess.run(
        [sys.executable, "-m", "tlsnic.qemu.userns", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        **options,
    )


def test_status_and_output_are_the_commands():
    done = run("sh", "-c", "echo hello; exit 7")
    assert (done.returncode, done.stdout) == (7, "hello\n")


def test_command_that_is_not_there_is_one_clear_line():
    done = run("/nonexistent/program")
    assert done.returncode == 127
    assert "/nonexistent/program" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_command_is_a_usage_error():
    assert run().returncode == 2


def test_root_needs_no_namespace(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert userns.wrapped(["true"]) == ["true"]


def test_user_is_root_in_a_namespace_where_that_is_allowed(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(userns, "allowed", lambda: True)
    assert userns.wrapped(["true"]) == ["unshare", "--user", "--map-root-user", "--", "true"]
    monkeypatch.setattr(userns, "allowed", lambda: False)
    assert userns.wrapped(["true"]) == ["true"]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user first")
def test_unprivileged_user_can_make_network_namespaces():
    if not userns.allowed():
        pytest.skip("this kernel does not allow user namespaces")
    nobody = 65534
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--", "unshare", "--net", "ip", "link"],
        capture_output=True,
        text=True,
        check=False,
        user=nobody,
        group=nobody,
        extra_groups=[],
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert "lo" in done.stdout

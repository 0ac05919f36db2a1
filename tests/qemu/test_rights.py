"""Commands with the rights to make network namespaces and TAPs."""

import os
import shutil
import subprocess
import sys

import pytest

from tlsnic.qemu import rights


def run(*command, **options):
    return subprocess.run(
        [sys.executable, "-m", "tlsnic.qemu.rights", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        **options,
    )


@pytest.fixture
def user(monkeypatch):
    """`user(namespace=…, sudo=…)`: this process seems to be a user's, with these ways to rights."""

    def make(*, namespace, sudo):
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        monkeypatch.setattr(rights, "namespace_suffices", lambda: namespace)
        monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if sudo else None)

    return make


def test_status_and_output_are_the_commands():
    if os.geteuid() != 0:
        pytest.skip("sudo might ask for a password")
    done = run("sh", "-c", "echo hello; exit 7")
    assert (done.returncode, done.stdout) == (7, "hello\n")


def test_no_command_is_a_usage_error():
    assert run().returncode == 2


def test_command_that_is_not_there_is_one_clear_line(monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert rights.main(["/nonexistent/program"]) == 127
    assert "/nonexistent/program" in capsys.readouterr().err


def test_root_needs_nothing(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert rights.wrapped(["true"]) == ["true"]


def test_user_namespace_is_preferred_to_sudo(user):
    user(namespace=True, sudo=True)
    assert rights.wrapped(["true"]) == ["unshare", "--user", "--map-root-user", "--", "true"]


def test_sudo_gives_capabilities_and_keeps_user_and_variables(user, monkeypatch):
    user(namespace=False, sudo=True)
    monkeypatch.setattr(
        os, "environ", {"HOME": "/home/u", "TLSNIC_QEMU": "/q", "SECRET": "x", "PATH": "/bin"}
    )
    words = rights.wrapped(["true", "--flag"])
    assert words[:3] == ["sudo", "--", "setpriv"]
    assert f"--reuid={os.getuid()}" in words
    assert words[words.index("env") :] == [
        *("env", "HOME=/home/u", "TLSNIC_QEMU=/q", "PATH=/bin"),
        *("true", "--flag"),
    ]


def test_without_any_way_the_command_runs_as_it_is(user):
    user(namespace=False, sudo=False)
    assert rights.wrapped(["true"]) == ["true"]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user first")
def test_capabilities_are_enough_for_a_namespace_with_a_tap():
    nobody = 65534
    words = rights.through_sudo(
        ["unshare", "--net", "ip", "tuntap", "add", "t0", "mode", "tap"],
        {"PATH": os.environ["PATH"]},
    )
    without_sudo = [
        word.replace("--reuid=0", f"--reuid={nobody}").replace("--regid=0", f"--regid={nobody}")
        for word in words[2:]
    ]
    without_sudo[without_sudo.index("--init-groups")] = "--clear-groups"
    done = subprocess.run(without_sudo, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr

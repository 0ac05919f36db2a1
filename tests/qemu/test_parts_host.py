"""Missing host packages: found, installed where allowed, else the command is named."""

import os
from io import StringIO
from pathlib import Path

import pytest

from tlsnic.qemu import parts
from tlsnic.qemu.parts import PartError, _host
from tlsnic.qemu.parts._console import Console
from tlsnic.qemu.parts._host import Tool

TOOL = Tool("thing-package", command="thing")


@pytest.fixture
def console() -> Console:
    return Console(StringIO())


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH, besides the machine's own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_tool_is_present_by_command_or_by_any_file(tmp_path: Path, programs: Path) -> None:
    assert not TOOL.present()
    program(programs, "thing", "true")
    assert TOOL.present()
    (tmp_path / "b").write_text("")
    assert Tool("p", files=("/nonexistent", str(tmp_path / "b"))).present()
    assert not Tool("p", files=("/nonexistent",)).present()


def test_nothing_is_run_when_nothing_is_missing(programs: Path, console: Console) -> None:
    program(programs, "apt-get", "exit 1")
    program(programs, "thing", "true")
    _host.ensure([TOOL], console)


def test_missing_package_is_installed_after_an_update(
    programs: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_host, "_privilege", list)
    # Like a fresh machine: no package can be located before the lists are fetched.
    program(
        programs,
        "apt-get",
        f"""cd {programs}; echo "$*" >> log
        case "$1" in
        update) touch updated;;
        install) [ -e updated ] || {{ echo 'E: Unable to locate package'; exit 100; }}
                 echo '#!/bin/sh' > thing; chmod +x thing;;
        esac""",
    )
    _host.ensure([TOOL], console)
    install = "install -y --no-install-recommends thing-package"
    assert (programs / "log").read_text().splitlines() == [install, "update", install]


def test_without_root_and_sudo_the_command_is_named(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_host, "_privilege", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PartError) as caught:
        _host.ensure([TOOL, Tool("other", command="other-thing")], console)
    assert caught.value.message == "missing on this machine: thing-package, other"
    assert caught.value.fix == "run: sudo apt-get install thing-package other"


def test_failing_installation_says_why(
    programs: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_host, "_privilege", list)
    program(programs, "apt-get", "echo 'E: Could not get lock'; exit 100")
    with pytest.raises(PartError, match="thing-package cannot be installed: E: Could not get lock"):
        _host.ensure([TOOL], console)


def test_installation_that_does_not_help_is_noticed(
    programs: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_host, "_privilege", list)
    program(programs, "apt-get", "exit 0")
    with pytest.raises(PartError, match="still missing after installing: thing-package"):
        _host.ensure([TOOL], console)


@pytest.mark.parametrize(("status", "expected"), [(0, ["sudo", "-n"]), (1, None)])
def test_sudo_is_used_only_where_it_asks_nothing_without_a_terminal(
    programs: Path, monkeypatch: pytest.MonkeyPatch, status: int, expected: list[str] | None
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("sys.stdin", StringIO())
    program(programs, "sudo", f"exit {status}")
    assert _host._privilege() == expected


def test_host_is_prepared_for_all_missing_parts_in_one_installation(
    tmp_path: Path, programs: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(parts._qemu, "machines", lambda: None)
    monkeypatch.setattr(_host, "missing", lambda tools: [tool.package for tool in tools])
    monkeypatch.setattr(_host, "_privilege", lambda: None)
    for name in ("LIBVFIO_USER", "QEMU", "KERNEL", "INITRD", "IMAGE"):
        monkeypatch.delenv(f"TLSNIC_{name}", raising=False)
    with pytest.raises(PartError) as caught:
        parts.prepare_host(console)
    for package in ("gcc", "libjson-c-dev", "e2fsprogs", "iperf3"):
        assert caught.value.fix.split().count(package) == 1


def test_tools_that_only_tests_need_are_told_and_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_to_make", list)
    monkeypatch.setattr(_host, "missing", lambda tools: [tool.package for tool in tools])
    monkeypatch.setattr(_host, "_privilege", lambda: None)
    stream = StringIO()
    parts.prepare_host(Console(stream))
    assert "iperf3" in stream.getvalue()
    assert "some tests will skip" in stream.getvalue()

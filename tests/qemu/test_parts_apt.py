"""The private apt: which mirror, what its configuration keeps out, how packages are unpacked."""

import subprocess
from io import StringIO
from pathlib import Path

import pytest

from tlsnic.qemu.parts import PartError, _apt
from tlsnic.qemu.parts._apt import Archive, mirror, package_version, pick_mirror, unpack
from tlsnic.qemu.parts._console import Console
from tlsnic.qemu.parts._errors import explain
from tlsnic.qemu.parts._run import CommandError

SITE = "http://mirror.invalid/debian"


@pytest.fixture
def console() -> Console:
    return Console(StringIO())


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ([f"{SITE}|bookworm|main|Debian"], SITE),
        ([f"{SITE}|bookworm|main|"], SITE),
        (
            ["http://s.invalid/debian-security|bookworm-security|main|Debian-Security",
             "http://o.invalid/pub|stable|main|Other", "http://d.invalid/pub|trixie|main|Debian"],
            "http://d.invalid/pub",
        ),
        (["http://o.invalid/debian|x|contrib|", f"{SITE}/|bookworm|main|"], f"{SITE}/"),
        (["http://u.invalid/ubuntu|noble|main|Ubuntu"], None),
        ([], None),
    ],
)  # fmt: skip
def test_mirror_is_debians_own_archive(targets: list[str], expected: str | None) -> None:
    assert pick_mirror(targets) == expected


def test_own_mirror_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLSNIC_DEBIAN_MIRROR", "http://own.invalid/debian")
    assert mirror() == "http://own.invalid/debian"


def test_machine_without_apt_is_told_to_bring_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TLSNIC_DEBIAN_MIRROR", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PartError, match="no apt-get") as caught:
        mirror()
    assert "TLSNIC_QEMU" in caught.value.fix


def test_other_processors_are_told_to_bring_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, console: Console
) -> None:
    monkeypatch.setattr(_apt.platform, "machine", lambda: "aarch64")
    with pytest.raises(PartError, match="this is aarch64"):
        Archive(tmp_path).source("part", "qemu", tmp_path / "source", console)


def test_private_configuration_wins_over_the_machines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TLSNIC_DEBIAN_MIRROR", SITE)
    # What a machine may have: a hook, a pin, an insecure setting, and a proxy that must stay.
    machine = tmp_path / "machine.conf"
    machine.write_text(
        'APT::Update::Post-Invoke { "touch /nonexistent/hook"; };\n'
        'APT::Default-Release "stable";\n'
        'APT::Get::AllowUnauthenticated "true";\n'
        'Acquire::http::Proxy "http://proxy.invalid:3128";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(machine))
    archive = Archive(tmp_path / "cache")
    (tmp_path / "cache/apt").mkdir(parents=True)
    archive._write_configuration()
    private = tmp_path / "cache/apt/apt.conf"
    text = subprocess.run(
        ["apt-config", "-c", private, "dump"], check=True, capture_output=True, text=True
    ).stdout
    home = tmp_path / "cache/apt"
    assert f'Dir::State::status "{home}/status";' in text
    assert f'Dir::Etc::sourcelist "{home}/sources.list";' in text
    assert 'Dir::Etc::sourceparts "/dev/null";' in text
    assert 'APT::Get::AllowUnauthenticated "false";' in text
    assert 'Acquire::http::Proxy "http://proxy.invalid:3128";' in text
    assert "nonexistent/hook" not in text
    assert 'APT::Default-Release "stable"' not in text
    sources = (home / "sources.list").read_text().splitlines()
    assert len(sources) == 3
    assert all("signed-by=/usr/share/keyrings/debian-archive-keyring" in line for line in sources)


def test_unreachable_mirror_is_one_line_with_a_fix(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, console: Console
) -> None:
    monkeypatch.setenv("TLSNIC_DEBIAN_MIRROR", "http://127.0.0.1:9/debian")  # discard: refused
    monkeypatch.setattr(_apt, "_CONFIGURATION", _apt._CONFIGURATION + 'Acquire::Retries "0";\n'
                        + 'Acquire::http::Proxy "DIRECT";\n')  # fmt: skip
    archive = Archive(tmp_path)
    with pytest.raises(CommandError) as caught:
        archive.fetch("part", ["base-files"], tmp_path / "debs", console)
    found = explain(caught.value, "part", tmp_path)
    assert "download failed" in found.message
    assert "network" in found.fix


def make_deb(folder: Path, name: str, files: dict[str, str]) -> Path:
    tree = folder / f"{name}-tree"
    for path, text in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: 1:2.0-1\nArchitecture: all\nMaintainer: T <t@example.org>\n"
        "Description: test\n"
    )
    (tree / "DEBIAN/postinst").write_text("#!/bin/sh\ntouch /nonexistent/postinst\n")
    (tree / "DEBIAN/postinst").chmod(0o755)
    deb = folder / f"{name}_1%3a2.0-1_all.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-b", tree, deb], check=True, capture_output=True
    )
    return deb


def test_packages_are_unpacked_into_a_merged_usr(tmp_path: Path, console: Console) -> None:
    debs = [
        make_deb(tmp_path, "one", {"usr/bin/one": "1", "usr/share/doc/one/changelog": "long"}),
        make_deb(tmp_path, "two", {"lib/two.so": "2", "bin/two": "2"}),
    ]
    tree = tmp_path / "tree"
    unpack("part", debs, tree, console, leave_out=("./usr/share/doc/*",))
    assert (tree / "lib").is_symlink()
    assert (tree / "usr/lib/two.so").read_text() == "2"
    assert (tree / "usr/bin/two").read_text() == "2"
    assert (tree / "bin/one").read_text() == "1"
    assert not (tree / "usr/share/doc/one").exists()
    assert package_version(debs, "two") == "1:2.0-1"
    with pytest.raises(PartError, match="three"):
        package_version(debs, "three")


def test_damaged_package_is_an_error(tmp_path: Path, console: Console) -> None:
    deb = make_deb(tmp_path, "one", {"usr/bin/one": "1" * 5000})
    deb.write_bytes(deb.read_bytes()[:-200])
    with pytest.raises(CommandError):
        unpack("part", [deb], tmp_path / "tree", console)

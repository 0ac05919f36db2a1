"""A headless browser for the tests of HTML pages: the user's own, or a private unpacked one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tlsnic.qemu.parts import _host
from tlsnic.qemu.parts._apt import SUITE, Archive, package_version, unpack
from tlsnic.qemu.parts._cache import Recipe
from tlsnic.qemu.parts._console import Console
from tlsnic.qemu.parts._errors import PartError

VARIABLE = "TLSNIC_BROWSER"
NAME = "browser"
PACKAGE = "chromium-headless-shell"
_TRIAL_TIMEOUT_S = 60
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_HOME = "usr/lib/chromium"
_PROGRAM = f"{_HOME}/{PACKAGE}"
_LOADER = f"{_HOME}/loader"
_START = f"{_HOME}/start"
_FONTS = "fonts.conf"
# Only pages that the tests wrote are opened. Chromium's sandbox refuses to run as root, and needs
# user namespaces, which containers often lack.
OPTIONS = ("--no-sandbox", "--no-zygote", "--disable-gpu", "--disable-dev-shm-usage")
_LEAVE_OUT = (
    "./etc/*",
    "./usr/bin/*",
    "./usr/sbin/*",
    "./usr/share/X11/*",
    "./usr/share/bug/*",
    "./usr/share/doc/*",
    "./usr/share/icons/*",
    "./usr/share/info/*",
    "./usr/share/lintian/*",
    "./usr/share/locale/*",
    "./usr/share/man/*",
    "./usr/share/perl*",
    f"./{_LIBRARIES}/gconv/*",
    f"./{_LIBRARIES}/perl*",
    # Drawing by a graphics card, which is switched off.
    f"./{_LIBRARIES}/dri/*",
    f"./{_LIBRARIES}/libLLVM*",
    f"./{_LIBRARIES}/libgallium*",
    f"./{_LIBRARIES}/libz3*",
    f"./{_HOME}/libVkLayer*",
)
# The tree's own loader starts the program, as with QEMU. Chromium finds its data beside the file
# that runs, which is the loader, so a copy of it lies there; and it starts its other processes as
# it was started, which without a zygote can be told.
_START_SCRIPT = f"""\
#!/bin/sh
here=$(dirname "$0")
libraries=$here/../x86_64-linux-gnu
exec "$here/loader" --library-path "$libraries:$libraries/pulseaudio" \\
    "$here/{PACKAGE}" --browser-subprocess-path="$here/start" "$@"
"""
_FONTS_CONFIGURATION = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <dir prefix="relative">usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
"""


@dataclass(frozen=True)
class Browser:
    """A Chromium that can be run: `[*argv_prefix, option, …, address]`.

    `environment` is to be added to the process's own; it wants its own folder for each run in
    --user-data-dir, and in HOME and XDG_CACHE_HOME.
    """

    argv_prefix: tuple[str, ...]
    environment: Mapping[str, str]
    source: str


def recipe(archive: Archive) -> Recipe:
    """How the private browser is made, with packages from `archive`."""

    def build(into: Path, console: Console) -> Mapping[str, str]:
        debs = into / "debs"
        files = archive.fetch(NAME, [PACKAGE, "fonts-dejavu-core"], debs, console)
        version = package_version(files, PACKAGE)
        unpack(NAME, files, into, console, leave_out=_LEAVE_OUT)
        shutil.rmtree(debs)
        shutil.copy(into / _LIBRARIES / "ld-linux-x86-64.so.2", into / _LOADER)
        (into / _START).write_text(_START_SCRIPT)
        (into / _START).chmod(0o755)
        (into / _FONTS).write_text(_FONTS_CONFIGURATION)
        with console.step(NAME, f"trying {version}"):
            _require(private(into), "the browser of this mirror")
        return {"version": version}

    return Recipe(
        name=NAME,
        inputs={"suite": SUITE, "leave_out": _LEAVE_OUT, "start": _START_SCRIPT, "steps": 1},
        outputs=(
            _PROGRAM,
            _LOADER,
            _START,
            _FONTS,
            f"{_HOME}/*.pak",
            f"{_HOME}/icudtl.dat",
            f"{_LIBRARIES}/*.so*",
            "usr/share/fonts/truetype/dejavu/*.ttf",
        ),
        build=build,
        needs_mib=700,
        tools=_host.PACKAGES,
    )


def private(tree: Path) -> Browser:
    """The browser in a finished part."""
    return Browser(
        (str(tree / _START), *OPTIONS),
        {"FONTCONFIG_FILE": str(tree / _FONTS)},
        f"private, from {tree}",
    )


def own() -> Browser | None:
    """The browser that $TLSNIC_BROWSER names, checked; None when the variable is not set."""
    value = os.environ.get(VARIABLE)
    if not value:
        return None
    path = shutil.which(value)
    if path is None:
        raise PartError(
            f"{VARIABLE}: {value} is not a program",
            f"let {VARIABLE} name a Chromium, or unset it",
        )
    browser = Browser((path, "--headless", *OPTIONS), {}, f"{VARIABLE}={value}")
    _require(browser, browser.source)
    return browser


def _require(browser: Browser, source: str) -> None:
    """Raise PartError unless the browser runs and executes a page's script."""
    fix = f"let {VARIABLE} name a Chromium that runs headless"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        page = Path(folder, "page.html")
        page.write_text("<!doctype html><p id=p></p><script>p.textContent = 6 * 7</script>")
        words = [f"--user-data-dir={folder}/data", "--dump-dom", page.as_uri()]
        environment = {**browser.environment, "HOME": folder, "XDG_CACHE_HOME": folder}
        try:
            done = subprocess.run(
                [*browser.argv_prefix, *words],
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TRIAL_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise PartError(f"{source}: this browser does not run: {error}", fix) from error
    if ">42</p>" not in done.stdout:
        lines = done.stderr.strip().splitlines() or [f"it ends with status {done.returncode}"]
        raise PartError(f"{source}: this browser shows no page: {lines[-1]}", fix)

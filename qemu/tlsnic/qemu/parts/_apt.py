"""Debian packages without touching the machine: a private apt over the machine's own mirror.

apt runs with its own lists, its own (empty) package status and its own archives below the cache,
so it neither needs root nor changes anything outside. The mirror's address is taken from the
machine's apt sources, proxies and credentials from its configuration; what is fetched is checked
by apt against the keys of the package debian-archive-keyring. Packages are unpacked, not
installed: no maintainer script runs, so no chroot, user namespace or mount is needed.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tlsnic.qemu.parts._cache import locked
from tlsnic.qemu.parts._console import Console, Step
from tlsnic.qemu.parts._errors import PartError
from tlsnic.qemu.parts._run import CommandError, check_stopped, run

SUITE = "trixie"
BACKPORTS = "trixie-backports"
_KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
_MIRROR_VARIABLE = "TLSNIC_DEBIAN_MIRROR"
_TARGETS = "$(SITE)|$(RELEASE)|$(COMPONENT)|$(LABEL)"
_PROGRESS = re.compile(r"dlstatus:\d+:([\d.]+):")
_FETCHED = re.compile(r"Fetched ([\d.,]+) (k|M|G|)B in")
_MEGA = {"": 1e-6, "k": 1e-3, "M": 1.0, "G": 1e3}

# Later than the machine's own settings (apt reads `-c` last), so that hooks and pins of the
# machine do not reach the private world, while its proxies do.
_CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
#clear APT::Default-Release;
#clear APT::Never-MarkAuto-Sections;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Get::AllowUnauthenticated "false";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "root";
Acquire::AllowInsecureRepositories "false";
Acquire::Languages "none";
Acquire::PDiffs "false";
Acquire::Retries "3";
Dir::Etc::sourcelist "{home}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{home}";
Dir::State::lists "{home}/lists";
Dir::State::status "{home}/status";
Dir::Cache "{home}";
Dir::Cache::archives "{home}/archives";
"""
_SOURCES = """\
deb [signed-by={keyring} arch=amd64 target=Packages] {mirror} {suite} main
deb [signed-by={keyring} arch=amd64 target=Packages] {mirror} {backports} main
deb-src [signed-by={keyring} target=Sources] {mirror} {suite} main
"""


def mirror() -> str:
    """The Debian mirror in the machine's apt sources, or $TLSNIC_DEBIAN_MIRROR.

    Raises PartError where there is no apt or no Debian mirror in its sources.
    """
    own = os.environ.get(_MIRROR_VARIABLE)
    if own:
        return own
    if shutil.which("apt-get") is None:
        raise PartError(
            "this machine has no apt-get, so the parts cannot be fetched",
            "bring your own: set TLSNIC_LIBVFIO_USER, TLSNIC_QEMU, TLSNIC_KERNEL, TLSNIC_INITRD "
            "and TLSNIC_IMAGE",
        )
    found = pick_mirror(run(["apt-get", "indextargets", "--format", _TARGETS]).splitlines())
    if found is None:
        raise PartError(
            "no Debian mirror in this machine's apt sources",
            f"set {_MIRROR_VARIABLE} to the address of a Debian mirror",
        )
    return found


def pick_mirror(targets: Sequence[str]) -> str | None:
    """Choose among lines of `SITE|RELEASE|COMPONENT|LABEL`; None when no site is Debian's archive.

    The label is known only after an `apt-get update`; until then a path that ends in /debian
    tells Debian's archive from security archives and third parties.
    """
    by_path = None
    for line in targets:
        site, release, component, label = [word.strip() for word in line.split("|")]
        if component != "main" or "security" in release:
            continue
        if label == "Debian":
            return site
        if by_path is None and site.rstrip("/").endswith("/debian"):
            by_path = site
    return by_path


class Archive:
    """The private apt below `<cache>/apt`. One call at a time, among threads and processes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._home = root / "apt"
        self._thread_lock = threading.Lock()
        self._updated = False

    @contextmanager
    def _ready(self, part: str, console: Console) -> Iterator[None]:
        """Hold apt for this part, with the package lists up to date (once per process)."""
        while not self._thread_lock.acquire(timeout=0.2):
            check_stopped()
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            with locked(self._home / ".lock", part, console):
                if not self._updated:
                    self._write_configuration()
                    with console.step(part, "package lists") as step:
                        self._apt(step, "update", "-o", "APT::Update::Error-Mode=any")
                    self._updated = True
                yield
        finally:
            self._thread_lock.release()

    def _write_configuration(self) -> None:
        if platform.machine() != "x86_64":
            raise PartError(
                f"the parts are for x86-64 machines, and this is {platform.machine()}",
                "bring your own: set TLSNIC_LIBVFIO_USER, TLSNIC_QEMU, TLSNIC_KERNEL, "
                "TLSNIC_INITRD and TLSNIC_IMAGE",
            )
        keyring = next((path for path in _KEYRINGS if path.exists()), None)
        if keyring is None:
            raise PartError(
                "the keys that sign Debian's packages are not installed",
                "install them: apt-get install debian-archive-keyring",
            )
        for folder in ("lists/partial", "archives/partial"):
            (self._home / folder).mkdir(parents=True, exist_ok=True)
        (self._home / "status").write_text("")
        (self._home / "apt.conf").write_text(_CONFIGURATION.format(home=self._home))
        (self._home / "sources.list").write_text(
            _SOURCES.format(keyring=keyring, mirror=mirror(), suite=SUITE, backports=BACKPORTS)
        )

    def _apt(self, step: Step, *words: str, cwd: Path | None = None) -> str:
        """Run apt-get; the step shows how far it is, and what was fetched in all its calls."""

        def watch(line: str) -> None:
            # apt-get 2.6 goes on for ever, at 12 %, when its lists fill the disk.
            if os.statvfs(self._home).f_bavail == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._home))
            if match := _PROGRESS.match(line):
                step.fraction = float(match[1]) / 100
            elif match := _FETCHED.match(line):
                step.fetched_mb += float(match[1].replace(",", "")) * _MEGA[match[2]]
                step.detail = f"{step.fetched_mb:.1f} MB"

        return run(
            ["apt-get", "-c", self._home / "apt.conf", "-o", "APT::Status-Fd=1", *words],
            cwd=cwd,
            on_line=watch,
        )

    def fetch(
        self,
        part: str,
        packages: Sequence[str],
        into: Path,
        console: Console,
        *,
        release: str = SUITE,
        alone: Sequence[str] = (),
    ) -> list[Path]:
        """Download packages with all they depend on, and the packages `alone` without that.

        The .deb files are put into the new directory `into`; returned sorted by name. What an
        interrupted run has already downloaded is used again, checked by apt.
        """
        archives = self._home / f"archives-{part}"
        with self._ready(part, console), console.step(part, "packages") as step:
            (archives / "partial").mkdir(parents=True, exist_ok=True)
            option = f"Dir::Cache::archives={archives}"
            if any(archives.glob("*.deb")):
                self._apt(step, "autoclean", "-o", option)
            words = ("install", "--download-only", "-y", "-t", release, "-o", option)
            self._apt(step, *words, *packages)
            if alone:
                self._apt(step, "download", "-t", release, *alone, cwd=archives)
            archives.rename(into)
        return sorted(into.glob("*.deb"))

    def source(self, part: str, package: str, into: Path, console: Console) -> list[Path]:
        """Download a source package (not unpacked) into the directory `into`, made if missing."""
        with self._ready(part, console), console.step(part, f"{package}'s source package") as step:
            into.mkdir(exist_ok=True)
            self._apt(step, "source", "--download-only", f"{package}/{SUITE}", cwd=into)
        return sorted(into.iterdir())

    def depends(
        self, part: str, package: str, console: Console, *, release: str = SUITE
    ) -> list[str]:
        """The names in a package's own Depends line (first alternatives)."""
        with self._ready(part, console):
            text = run(
                ["apt-cache", "-c", self._home / "apt.conf", "show", f"{package}/{release}"],
            )
        match = re.search(r"^Depends: (.*)$", text, re.M)
        names = match[1].split(",") if match else []
        return [re.split(r"[ |(]", name.strip())[0] for name in names]

    def names(self, part: str, console: Console) -> list[str]:
        """The names of all packages."""
        with self._ready(part, console):
            return run(["apt-cache", "-c", self._home / "apt.conf", "pkgnames"]).split()


def package_version(debs: Sequence[Path], package: str) -> str:
    """The version of a package among downloaded .deb files."""
    for deb in debs:
        name, version, _ = deb.stem.split("_")
        if name == package:
            return version.replace("%3a", ":")
    raise PartError(f"the package {package} is not among what apt fetched", "run the same again")


def unpack(
    part: str,
    debs: Sequence[Path],
    tree: Path,
    console: Console,
    *,
    leave_out: Sequence[str] = (),
) -> None:
    """Unpack .deb files into `tree`, without the paths that match the `leave_out` patterns.

    /bin, /sbin, /lib and /lib64 are links into /usr, as Debian has it since trixie. Patterns are
    those of tar, relative ("./usr/share/doc/*").
    """
    for name in ("bin", "sbin", "lib", "lib64"):
        (tree / "usr" / name).mkdir(parents=True, exist_ok=True)
        (tree / name).symlink_to(f"usr/{name}")
    tar = ["tar", "-x", "-C", str(tree), "--keep-directory-symlink", "--wildcards"]
    tar += ["--no-same-owner", "--delay-directory-restore"]
    tar += [f"--exclude={pattern}" for pattern in leave_out]
    done = 0

    def one(deb: Path) -> None:
        nonlocal done
        check_stopped()
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as left:
            right = subprocess.run(
                tar, stdin=left.stdout, stderr=subprocess.PIPE, check=False, text=True
            )
        if right.returncode or left.returncode:
            raise CommandError([*tar, str(deb)], right.returncode or left.returncode, right.stderr)
        done += 1
        step.fraction = done / len(debs)

    with (
        console.step(part, "unpacking") as step,
        ThreadPoolExecutor(os.cpu_count() or 1) as pool,
    ):
        step.detail = f"{len(debs)} packages"
        for future in [pool.submit(one, deb) for deb in debs]:
            future.result()

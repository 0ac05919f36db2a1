"""The browser of the tests: the user's own is checked before use, and `make run` never gets one."""

import dataclasses
from pathlib import Path

import pytest

from tlsnic.qemu import parts
from tlsnic.qemu.parts import PartError


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TLSNIC_BROWSER", raising=False)


def fake_browser(path: Path, shows: str, status: int = 0) -> Path:
    path.write_text(f"#!/bin/sh\necho 'starting' >&2\necho '{shows}'\nexit {status}\n")
    path.chmod(0o755)
    return path


def test_own_browser_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fake_browser(tmp_path / "b", '<p id="p">42</p>')
    monkeypatch.setenv("TLSNIC_BROWSER", str(path))
    browser = parts.browser(make=False)
    assert browser.argv_prefix[:2] == (str(path), "--headless")
    assert "--no-sandbox" in browser.argv_prefix


@pytest.mark.parametrize(("shows", "status"), [('<p id="p"></p>', 0), ("", 1)])
def test_a_browser_that_runs_no_script_is_refused_with_a_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shows: str, status: int
) -> None:
    monkeypatch.setenv("TLSNIC_BROWSER", str(fake_browser(tmp_path / "b", shows, status)))
    with pytest.raises(PartError, match="shows no page: starting") as caught:
        parts.browser(make=False)
    assert "TLSNIC_BROWSER" in caught.value.fix


def test_what_is_no_program_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLSNIC_BROWSER", str(tmp_path / "none"))
    with pytest.raises(PartError, match="is not a program"):
        parts.browser(make=False)


def test_it_is_none_of_the_parts_that_a_run_needs() -> None:
    with pytest.raises(PartError, match="not made yet"):
        parts.browser(make=False)
    assert "browser" not in {field.name for field in dataclasses.fields(parts.Parts)}

"""The page as text: nothing of the capture can become markup or script."""

import base64
import hashlib
import json
import re

from trace_bench import lossy, sending

from tlsnic.device.timeline.html import make_page
from tlsnic.device.timeline.reading import read_flows

EVIL = "</script><script>alert(1)</script><!--<script>{{script}}"


def parts(page, element):
    return re.findall(rf"<{element}[^>]*>(.*?)</{element}>", page, re.S)


def test_what_runs_is_allowed_by_its_hash_and_nothing_else():
    page = make_page(read_flows(sending()[0]), "x.pcapng")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src 'none';")
    for name, element in (("script", parts(page, "script")[1]), ("style", parts(page, "style")[0])):
        digest = base64.b64encode(hashlib.sha256(element.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"https?://|\bon[a-z]+=|style=\"", page)


def test_text_of_the_capture_stays_text():
    (flow,) = read_flows(sending()[0])
    flow.remote = flow.suite = EVIL
    page = make_page([flow], EVIL)
    data, script = parts(page, "script")
    assert "<" not in data
    found = json.loads(data)
    assert found["name"] == EVIL
    assert EVIL in found["flows"][0]["title"]
    assert page.count("<script") == 2
    assert "alert" not in script


def test_columns_are_the_flow():
    (flow,) = read_flows(lossy(5).finish())
    (found,) = json.loads(parts(make_page([flow], "x"), "script")[0])["flows"]
    sizes = base64.b64decode(found["packets"]["size"])
    assert len(sizes) == 4 * len(flow.packets)
    assert int.from_bytes(sizes[:4], "little") == flow.packets[0].end - flow.packets[0].begin
    assert sum(end - begin for begin, end, _ in found["stream"]) == 5 * 16406


def test_without_flows():
    assert '"flows":[]' in make_page([], "empty.pcapng")

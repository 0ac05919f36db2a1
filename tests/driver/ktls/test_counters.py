"""The kern.ipc.tls tree."""

import json
import threading

import pytest

from tlsnic.driver.ktls.counters import COUNTERS, SETTINGS, TlsSysctl


def test_names_and_values():
    tree = TlsSysctl()
    tree.add("sw.gcm")
    tree.add("sw.gcm", 4)
    tree.add("sw.gcm", -2)
    tree.touched("copy", 10)
    tree.touched("encrypt", 5)
    assert tree["sw.gcm"] == 3
    assert tree.bytes_touched == 15
    found = json.loads(tree.json())
    assert found == tree.snapshot()
    assert list(found) == sorted(found)
    assert set(found) == {f"kern.ipc.tls.{name}" for name in (*COUNTERS, *SETTINGS)}
    assert found["kern.ipc.tls.sw.gcm"] == 3
    assert found["kern.ipc.tls.maxlen"] == 16384


def test_settings():
    tree = TlsSysctl()
    tree["ifnet.permitted"] = 0
    assert tree["ifnet.permitted"] == 0
    for name, value in (("maxlen", 63), ("enable", -1)):
        with pytest.raises(ValueError, match=name):
            tree[name] = value
    with pytest.raises(KeyError, match="cannot be set"):
        tree["stats.active"] = 1
    with pytest.raises(KeyError):
        tree.add("stats.misspelt")
    with pytest.raises(KeyError):
        tree["misspelt"]


def test_threads_lose_nothing():
    tree = TlsSysctl()

    def count():
        for _ in range(2000):
            tree.add("stats.enable_calls")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tree["stats.enable_calls"] == 8000

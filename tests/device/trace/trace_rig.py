"""Cards of the core's tests whose whole life is traced, and replayed at its end."""

import importlib.util
import sys
from pathlib import Path
from unittest.mock import patch

from tlsnic.abi.enums import TraceFlags
from tlsnic.abi.structures import TraceDmaRead
from tlsnic.device.trace.record import Recorded, Seal
from tlsnic.device.trace.replay import Replay
from tlsnic.device.trace.tracer import Tracer

_CORE = Path(__file__).parent.parent / "core"


def load(path):
    """A module of a tests folder, which is no package, under its own name."""
    if path.stem not in sys.modules:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        sys.modules[path.stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[path.stem])
    return sys.modules[path.stem]


load(_CORE / "conftest.py")
rig = load(_CORE / "rig.py")
tls_rig = load(_CORE / "tls_rig.py")
receive_rig = load(_CORE / "receive_rig.py")


def load_test(name):
    """A test module of the core."""
    return load(_CORE / f"{name}.py")


class Memory:
    """A sink that keeps everything, keys sealed; what a replay reads."""

    takes_secrets = True
    damage = None

    def __init__(self):
        self.records = []
        self.seal = Seal(bytes(32))

    def put(self, record, data=b""):
        data = self.seal.close(record, data) if is_secret(record) else bytes(data)
        self.records.append(Recorded(len(self.records) + 1, record, data))

    def flush(self):
        pass

    def close(self):
        pass

    def __iter__(self):
        for one in self.records:
            if is_secret(one.record):
                yield one._replace(data=self.seal.open(one.record, one.data))
            else:
                yield one


def is_secret(record):
    return isinstance(record, TraceDmaRead) and bool(record.flags & TraceFlags.SECRET)


class TracedNic:
    """A `Nic` whose inputs go through its tracer: what rigs and their tests take for a card."""

    def __init__(self, config, host, port):
        self.nic = RealNic(config, host, port)
        self.tracer = Tracer(self.nic)
        self.sink = Memory()
        self.tracer.add(self.sink)
        cards.append(self)

    def __getattr__(self, name):
        core = self.tracer.core
        return getattr(core if hasattr(type(core), name) else self.nic, name)

    def __setattr__(self, name, value):
        own = name in ("nic", "tracer", "sink")
        object.__setattr__(self if own else self.nic, name, value)


RealNic = rig.Nic
cards = []
"""Those that were made since `traced_rigs` was entered."""


def traced_rigs():
    """A context in which rigs have traced cards."""
    cards.clear()
    return patch.object(rig, "Nic", TracedNic)


def replay(records):
    """Run it again; raises at a difference."""
    again = Replay(records)
    assert not again.run()
    return again


def replay_all():
    """All cards of `traced_rigs`."""
    found = [replay(card.sink) for card in cards]
    cards.clear()
    return found

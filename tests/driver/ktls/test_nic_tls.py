"""NIC TLS from socket to wire: tags, routes that move, laggs that fail over, VLANs, switches."""

import random

import pytest
from flows import make_session
from network import Rig

from tlsnic.abi.enums import CipherSuite

GCM12, GCM13 = CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_AES_128_GCM
DATA = random.Random(5).randbytes(300_000)


@pytest.fixture
def rig():
    made = []

    def make(*args, **options):
        made.append(Rig(*args, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("suite", [GCM12, GCM13])
def test_the_card_encrypts_what_is_written(rig, suite):
    one = rig(1)
    one.enable(make_session(suite))
    assert one.counter("ifnet.gcm") == 1
    one.send(DATA[:100_000], DATA[100_000:])
    assert one.plaintext() == DATA
    assert one.check_wire() == [len(one.got)]
    assert not one.counter("bytes_touched.encrypt")

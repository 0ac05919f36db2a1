"""The card's core with TLS flows, made by commands on its admin queue."""

from __future__ import annotations

from typing import Final

from bench.stages import Card
from tlsnic.abi import registers
from tlsnic.abi.enums import CipherSuite, Offload, TlsDirection
from tlsnic.abi.structures import Command, Response, TlsFlow, TlsFlowCreateCommand

KEY: Final = bytes(range(16))
REMOTE_PORT: Final = 443
_REMOTE: Final = bytes((10, 0, 0, 2))
_ENTRIES: Final = 256
_ADMIN_RING: Final = 0x14000
_ADMIN_COMPLETIONS: Final = 0x16000
_BLOCK: Final = 0x18000
_DOORBELLS: Final = 2


def connection(number: int) -> tuple[bytes, int]:
    """The card's address and port in flow `number`; the other end's are always the same."""
    high, low = divmod(number, 50_000)
    return bytes((10, 0, 1 + high, 1)), 10_000 + low


class TlsCard(Card):
    """A core whose admin queue runs, with offloads switched on."""

    def __init__(self, offloads: Offload) -> None:
        super().__init__()
        for name, value, width in (
            ("RING_BASE", _ADMIN_RING, 8),
            ("COMPLETION_BASE", _ADMIN_COMPLETIONS, 8),
            ("RING_SIZE", _ENTRIES, 4),
            ("COMPLETION_SIZE", _ENTRIES, 4),
            ("CONTROL", 1, 4),
        ):
            self.write(getattr(registers, f"ADMIN_QUEUE_{name}"), value, width)
        self.write(registers.OFFLOAD_ENABLE, int(offloads))
        self._commands = 0

    def create(self, number: int, direction: TlsDirection, key: bytes = KEY) -> int:
        """A flow of TLS 1.3 with AES-128-GCM, from record and sequence number 0 on; its handle."""
        memory, nic = self.memory.bytes, self.nic
        address, port = connection(number)
        block = TlsFlow(
            direction=direction,
            ip_version=4,
            tls_version=0x0304,
            suite=CipherSuite.TLS13_AES_128_GCM,
            local_address=address.ljust(16, b"\0"),
            remote_address=_REMOTE.ljust(16, b"\0"),
            local_port=port,
            remote_port=REMOTE_PORT,
            key=key.ljust(32, b"\0"),
            iv=bytes(16),
            mac_key=bytes(48),
            key_length=16,
            iv_length=12,
        )
        block.pack_into(memory, _BLOCK)
        index = self._commands % _ENTRIES
        command = TlsFlowCreateCommand(address=_BLOCK, length=TlsFlow.SIZE)
        command.pack_into(memory, _ADMIN_RING + index * Command.SIZE)
        self._commands += 1
        tail = self._commands % _ENTRIES
        nic.write(_DOORBELLS, registers.ADMIN_DOORBELL_TAIL, 4, tail)
        while nic.poll(0):
            pass
        response = Response.unpack_from(memory, _ADMIN_COMPLETIONS + index * Response.SIZE)
        assert not response.status, f"flow {number}: {response}"
        nic.write(_DOORBELLS, registers.ADMIN_DOORBELL_COMPLETION, 4, tail)
        return response.result0

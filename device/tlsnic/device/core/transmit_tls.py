"""TLS on transmit: finds the flow of a packet, fetches what comes beside its data, has it encrypted.

Whatever is wrong ends in `Drop`: what this stage does not return does not leave the card.
"""

from typing import Final

from tlsnic.abi.enums import Diagnostic, TxStatus
from tlsnic.device.core.counters import Counters
from tlsnic.device.core.descriptors import Chain, Descriptor, Drop
from tlsnic.device.core.gate import HostGate
from tlsnic.device.core.host import Buffer
from tlsnic.device.packet.headers import Headers, flow_key
from tlsnic.device.tls.encrypt import (
    PRESYNC_BYTES,
    Presync,
    Refused,
    Straddles,
    check_before_start,
    encrypt_in_order,
    encrypt_presynced,
)
from tlsnic.device.tls.fence import Drain
from tlsnic.device.tls.flow import TxFlow
from tlsnic.device.tls.table import FlowTable

MAX_PAYLOAD_BYTES: Final = 65536
MAX_SUFFIX_BYTES: Final = 15
_VLAN_ID: Final = 0xFFF


class TlsTransmit:
    """One for all queues. What `encrypt` returns is good until it is called again."""

    def __init__(self, host: HostGate, counters: Counters, flows: FlowTable) -> None:
        self._host = host
        self._counters = counters
        self._flows = flows
        self._out = memoryview(bytearray(MAX_PAYLOAD_BYTES))

    def flow_of(self, handle: int, queue: Drain) -> TxFlow:
        """The flow of the next packet of `queue`. Drop: stale or forged handle."""
        flow = self._flows.get(handle)
        if not isinstance(flow, TxFlow) or (flow.fence is not None and flow.fence.is_behind(queue)):
            self._counters.tx_tls_drop_bad_handle += 1
            destroyed = isinstance(flow, TxFlow) or self._flows.was_destroyed(handle)
            code = Diagnostic.TLS_DESTROYED if destroyed else Diagnostic.TLS_HANDLE
            raise Drop(TxStatus.TLS_DROPPED, code, handle)
        return flow

    def check_tuple(self, flow: TxFlow, head: Buffer, headers: Headers) -> None:
        """Drop: the packet is of another connection than its flow."""
        tci = headers.vlan_tci
        vlan_id = None if tci is None else tci & _VLAN_ID
        if flow_key(head, headers) != flow.address or vlan_id != flow.vlan_id:
            self._counters.tx_tls_drop_bad_handle += 1
            raise Drop(TxStatus.TLS_DROPPED, Diagnostic.TLS_TUPLE, flow.handle)

    def encrypt(
        self, flow: TxFlow, chain: Chain, sequence: int, payload: list[Buffer]
    ) -> memoryview:
        """The TCP payload as it leaves, from what the host put there.

        Raises:
            Drop: it cannot leave.
            DmaFault: what comes beside it is not mapped.
        """
        data = memoryview(payload[0] if len(payload) == 1 else b"".join(payload))
        out = self._out[: len(data)]
        if not data:  # a pure ACK has nothing to encrypt
            return out
        counters = self._counters
        if sequence != flow.sequence:
            counters.tx_tls_ooo += 1
            flow.out_of_order += 1
        try:
            suffix = self._gather(chain.suffix, MAX_SUFFIX_BYTES)
            if chain.presync is None:
                encrypt_in_order(flow, sequence, data, out, suffix)
            else:
                presync = self._presync(chain.presync)
                prefix = self._gather(chain.prefix, presync.prefix_length)
                if presync.is_before_start:
                    check_before_start(flow, sequence, len(data), presync)
                    counters.tx_tls_skip_no_sync_data += 1
                    out[:] = data
                    return out
                encrypt_presynced(flow, sequence, data, out, presync, prefix, suffix)
                counters.tx_tls_presync += 1
                flow.presynced += 1
        except Refused as refused:
            flow.refused += 1
            if isinstance(refused, Straddles):
                counters.tx_tls_drop_bypass_req += 1
            elif refused.code is not Diagnostic.TLS_RECORD:
                counters.tx_tls_drop_no_sync_data += 1
            raise Drop(TxStatus.TLS_DROPPED, refused.code, refused.operand) from None
        counters.tx_tls_encrypted_packets += 1
        counters.tx_tls_encrypted_bytes += len(data)
        flow.packets += 1
        flow.payload_bytes += len(data)
        return out

    def _presync(self, descriptor: Descriptor) -> Presync:
        if descriptor[1] != PRESYNC_BYTES:
            raise Refused(Diagnostic.TLS_PRESYNC, descriptor[1])
        return Presync.unpack(b"".join(self._host.block_views(descriptor[0], PRESYNC_BYTES, False)))

    def _gather(self, descriptors: list[Descriptor], most: int) -> bytes:
        """A copy of small buffers. Refused: more than `most` bytes. DmaFault: not mapped."""
        if not descriptors:
            return b""
        total = sum(descriptor[1] for descriptor in descriptors)
        if total > most:
            raise Refused(Diagnostic.TLS_PRESYNC, total)
        return b"".join(
            view
            for address, length, *_ in descriptors
            for view in self._host.views(address, length, False)
        )

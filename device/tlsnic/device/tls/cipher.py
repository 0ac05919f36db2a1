"""Makes the cipher of a flow's suite."""

from tlsnic.abi.suites import RecordKind, SuiteLayout
from tlsnic.device.tls.aead import ChaChaCipher, GcmCipher
from tlsnic.device.tls.cbc import CbcCipher
from tlsnic.device.tls.keys import KeyCache, KeyMaterial
from tlsnic.device.tls.record import RecordCipher, RecordFormat


def check_lengths(layout: SuiteLayout, keys: KeyMaterial) -> None:
    """Raise ValueError unless the keys have the suite's lengths."""
    lengths = len(keys.iv), len(keys.mac_key)
    if len(keys.key) not in layout.key_bytes or lengths != (layout.iv_bytes, layout.mac_key_bytes):
        raise ValueError(f"{keys!r} for {layout.suite.name}")


def make_cipher(
    record_format: RecordFormat, keys: KeyMaterial, cache: KeyCache, first_number: int
) -> RecordCipher:
    """The cipher that encrypts records of `record_format` with `keys`, which it owns from now on.

    `first_number` is the number of the record that keys.iv belongs to (TLS 1.0).

    Raises:
        ValueError: the keys do not have the suite's lengths.
    """
    layout = record_format.layout
    check_lengths(layout, keys)
    if layout.kind is RecordKind.GCM:
        return GcmCipher(record_format, keys, cache)
    if layout.kind is RecordKind.CHACHA20_POLY1305:
        return ChaChaCipher(record_format, keys, cache)
    return CbcCipher(record_format, keys, first_number)

"""No exception of a handler gets lost, and none lets the library go on."""

import errno
import logging
import select

import pytest
from conftest import Device, DeviceMaker
from raw_client import DEVICE_RESET, DMA_MAP, Client

from tlsnic.device.vfu import (
    DmaRegion,
    Irq,
    Reset,
    State,
    VfuDisconnected,
    VfuError,
)


class BrokenError(Exception):
    """What the handlers under test raise."""


def fail(*_: object) -> bool:
    raise BrokenError("on purpose")


def run_until_failure(device: Device) -> BaseException:
    select.select([device.context], [], [], 5)
    with pytest.raises(BrokenError) as caught:
        device.context.run()
    return caught.value


def test_register_read_fails_closed_and_run_raises(device: Device, client: Client) -> None:
    device.registers.fail = BrokenError("on purpose")
    client.send(9, bytes(8) + (0).to_bytes(4, "little") + (4).to_bytes(4, "little"))
    run_until_failure(device)
    assert client.receive().error == errno.EIO
    device.registers.fail = None
    assert client.read(0, 0, 4) == bytes(4)  # the exception was raised once; all goes on


def test_posted_write_that_fails_is_raised_by_run(
    device: Device, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    device.registers.fail = BrokenError("on purpose")
    client.post(0, 0, b"1234")
    client.post(0, 4, b"1234")
    run_until_failure(device)
    assert "BAR0 write at 0x0 failed" in caplog.text
    run_until_failure(device)
    assert device.context.run() == 0


def test_interrupt_signal_in_a_handler_is_not_lost(device: Device, client: Client) -> None:
    device.registers.fail = KeyboardInterrupt()
    client.post(0, 0, b"1234")
    with pytest.raises(KeyboardInterrupt):
        device.context.run()


def test_read_of_wrong_length_is_an_error(device: Device, client: Client) -> None:
    device.registers.memory = bytearray(2)
    client.send(9, bytes(8) + (0).to_bytes(4, "little") + (4).to_bytes(4, "little"))
    with pytest.raises(ValueError, match="2 bytes instead of 4"):
        device.context.run()
    assert client.receive().error == errno.EIO


def test_on_error_hook_gets_exceptions_instead_of_run(make_device: DeviceMaker) -> None:
    errors: list[tuple[BaseException, str]] = []
    device = make_device(on_error=lambda error, where: errors.append((error, where)))
    device.registers.fail = BrokenError("on purpose")
    with device.realize().connect() as client:
        assert client.read(0, 8, 4) == errno.EIO
    ((error, where),) = errors
    assert isinstance(error, BrokenError)
    assert where == "BAR0 read at 0x8"


def test_failing_on_error_hook_is_not_lost_either(make_device: DeviceMaker) -> None:
    device = make_device(on_error=fail)
    device.registers.fail = ValueError("the first")
    with device.realize().connect() as client:
        client.post(0, 0, b"1234")
        error = run_until_failure(device)
        assert isinstance(error.__context__, ValueError)


def test_failing_log_handler_is_not_lost(device: Device, client: Client) -> None:
    handler = logging.Handler()
    handler.emit = fail  # type: ignore[method-assign,assignment]
    logger = logging.getLogger("tlsnic.device.vfu")
    logger.addHandler(handler)
    try:
        client.send(99, b"1234")
        with pytest.raises(BrokenError):
            device.context.run()
    finally:
        logger.removeHandler(handler)
    assert client.receive().error == errno.EINVAL


def test_exception_in_quiesce_refuses_the_map(make_device: DeviceMaker, memfd: int) -> None:
    """ctypes would return 0, which means quiesced."""
    device = make_device()
    device.context.on_quiesce(fail)
    client = device.realize().connect()
    with client:
        sent = client.send(DMA_MAP, DMA_MAP_PAGE, [memfd])
        run_until_failure(device)
        reply = client.receive()
        assert (reply.message_id, reply.error) == (sent, errno.EIO)
        assert len(device.dma) == 0
    with pytest.raises(BrokenError) as caught:  # the client left: it must be let go nevertheless
        device.context.run()
    assert isinstance(caught.value.__cause__, VfuDisconnected)
    assert device.events == [Reset.LOST_CONNECTION]
    assert device.context.state is State.LISTENING


DMA_MAP_PAGE = b"".join(
    value.to_bytes(size, "little") for value, size in ((32, 4), (3, 4), (0, 8), (0, 8), (4096, 8))
)


def test_quiesce_later(make_device: DeviceMaker, memfd: int) -> None:
    device = make_device()
    device.context.on_quiesce(lambda: False)
    client = device.realize().connect()
    with client:
        with pytest.raises(VfuError, match="no quiesce"):
            device.context.quiesced()
        client.send(DMA_MAP, DMA_MAP_PAGE, [memfd])
        device.pump()  # ends: what waits does not keep the loop busy
        assert device.context.state is State.QUIESCING
        assert len(device.dma) == 0
        device.context.quiesced()
        assert client.receive().error == 0
        assert len(device.dma) == 1
        assert device.context.state is State.ATTACHED
    device.pump()
    assert device.context.state is State.QUIESCING
    assert len(device.dma) == 1
    device.context.quiesced()
    device.pump()
    assert device.disconnects == ["the client closed the connection"]
    assert len(device.dma) == 0
    with device.connect() as again:
        assert again.read(0, 0, 1) == b"\0"


def test_failed_quiesce_ends_the_connection(make_device: DeviceMaker, memfd: int) -> None:
    """The library would leave the client without a reply for ever."""
    answers = iter([False, True])
    device = make_device()
    device.context.on_quiesce(lambda: next(answers))
    with device.realize().connect() as client:
        client.send(DMA_MAP, DMA_MAP_PAGE, [memfd])
        device.pump()
        device.context.quiesced(errno.EIO)
        device.pump()
        assert device.disconnects == ["the device failed to quiesce"]
        assert client.socket.recv(1) == b""
        assert len(device.dma) == 0


def test_exception_in_reset_fails_the_reset(make_device: DeviceMaker) -> None:
    device = make_device()
    device.context.on_reset(fail)
    client = device.realize().connect()
    client.send(DEVICE_RESET)
    run_until_failure(device)
    assert client.receive().error == errno.EIO
    client.close()
    with pytest.raises(BrokenError):
        device.context.run()
    assert device.context.state is State.LISTENING
    with pytest.raises(BrokenError):
        device.context.close()


def test_exception_in_dma_hooks_leaves_the_table_right(
    make_device: DeviceMaker, memfd: int
) -> None:
    device = make_device()
    table = device.context.setup_dma(fail, fail)
    with device.realize().connect() as client:
        client.send(DMA_MAP, DMA_MAP_PAGE, [memfd])
        run_until_failure(device)
        assert client.receive().error == 0
        assert len(table.view1(0, 4096)) == 4096
        client.send(3, DMA_UNMAP_PAGE)
        run_until_failure(device)
        assert client.receive().error == 0
        assert len(table) == 0
        assert table.lingering == 0


DMA_UNMAP_PAGE = (24).to_bytes(8, "little") + bytes(8) + (4096).to_bytes(8, "little")


def test_calls_that_would_free_the_context_are_refused_in_handlers(
    make_device: DeviceMaker,
) -> None:
    device = make_device()
    errors: list[int | None] = []

    def misuse(_: DmaRegion) -> None:
        for call in (
            device.context.close,
            device.context.run,
            device.context.disconnect,
            device.context.quiesced,
        ):
            try:
                call()
            except VfuError as error:
                errors.append(error.errno)

    device.context.setup_dma(misuse)
    with device.realize().connect() as client:
        assert client.map_dma(0, 4096) == 0
    assert errors == [errno.EINVAL] * 4


def test_exception_in_interrupt_state_hook_is_raised(make_device: DeviceMaker) -> None:
    device = make_device()
    device.context.on_irq_state(Irq.INTX, fail)
    with device.realize().connect() as client:
        fields = (20, 0x09, Irq.INTX, 0, 1)
        client.send(8, b"".join(field.to_bytes(4, "little") for field in fields))
        run_until_failure(device)
        assert client.receive().error == 0

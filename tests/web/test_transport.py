"""The stream under every connection, on a real socket."""

import pytest
import trio
import trio.testing
from hypercorn.typing import ASGIFramework

from web.server import IDLE_S, listen, serve_on
from web.transport import WriteDeadlineStream


async def connected() -> tuple[WriteDeadlineStream, trio.SocketStream]:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    peer = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
    async with listener:
        return WriteDeadlineStream(await listener.accept(), deadline_s=5.0), peer


async def test_a_write_that_comes_while_the_end_is_sent_finds_the_stream_closed() -> None:
    stream, peer = await connected()
    failures: list[BaseException] = []

    async def write() -> None:
        try:
            await stream.send_all(b"goodbye")
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            failures.append(error)

    async with peer, stream:
        for _ in range(20):  # whoever comes first
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send_eof)
                nursery.start_soon(write)
        assert failures
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"more")


async def test_the_end_is_sent_behind_what_was_written() -> None:
    stream, peer = await connected()
    async with peer, stream:
        await stream.send_all(b"goodbye")
        await stream.send_eof()
        await stream.send_eof()
        received = [chunk async for chunk in peer]
    assert b"".join(received) == b"goodbye"


@pytest.mark.parametrize("asked", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_a_connection_is_let_go_when_its_peer_has_gone(
    nursery: trio.Nursery, plain_app: ASGIFramework, asked: bytes
) -> None:
    """And not only when it has been idle for long enough: whoever connects and leaves would hold a file for that."""
    listeners = await listen("127.0.0.1:0", loopback_only=True)
    await nursery.start(serve_on, plain_app, listeners)
    await trio.testing.wait_all_tasks_blocked(0.01)
    living = trio.lowlevel.current_statistics().tasks_living
    async with await trio.open_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1]) as stream:
        await stream.send_all(asked)
        if asked:
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 204 ")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert trio.lowlevel.current_statistics().tasks_living > living
    with trio.fail_after(IDLE_S / 2):
        while trio.lowlevel.current_statistics().tasks_living > living:  # noqa: ASYNC110 - it has no event
            await trio.sleep(0.002)

"""The stream under every connection, on a real socket."""

import pytest
import trio

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

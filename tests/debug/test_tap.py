"""Whoever listens to a call hears the vendors of that call, whichever task or thread they speak from."""

import trio

from engine.supervisor import ChildSpec, Incarnation, Supervisor
from engine.tap import Direction, tap, tapped


class Ear:
    def __init__(self) -> None:
        self.heard: list[tuple[str, Direction, str | bytes]] = []

    def __call__(self, vendor: str, direction: Direction, message: str | bytes) -> None:
        self.heard.append((vendor, direction, message))


def test_without_a_listener_a_tap_is_nothing() -> None:
    tap("deepgram", "sent", b"\x00")


def test_a_listener_hears_until_it_leaves() -> None:
    ear = Ear()
    with tapped(ear):
        tap("deepgram", "sent", b"\x00")
        with tapped(None):
            tap("deepgram", "sent", b"\x01")
        tap("deepgram", "received", "{}")
    tap("deepgram", "sent", b"\x02")
    assert ear.heard == [("deepgram", "sent", b"\x00"), ("deepgram", "received", "{}")]


async def test_tasks_threads_and_children_that_are_started_again_belong_to_their_call() -> None:
    async def serve(call: str, ear: Ear) -> None:
        done = trio.Event()

        async def child(*, task_status: Incarnation) -> None:
            task_status.started()
            tap("child", "sent", call)
            if task_status.number == 1:
                raise OSError("once")
            await trio.to_thread.run_sync(tap, "thread", "sent", call)
            done.set()
            await trio.sleep_forever()

        with tapped(ear):
            supervisor = Supervisor(name=call, specs=(ChildSpec(id="child", start=child, shutdown_s=0.0),))
            async with trio.open_nursery() as nursery:
                await nursery.start(supervisor.run)
                await done.wait()
                supervisor.stop()

    ears = {"one": Ear(), "other": Ear()}
    async with trio.open_nursery() as nursery:
        for call, ear in ears.items():
            nursery.start_soon(serve, call, ear)
    for call, ear in ears.items():
        assert ear.heard == [("child", "sent", call)] * 2 + [("thread", "sent", call)]

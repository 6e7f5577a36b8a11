"""The phone line: the clock that moves the audio, and what the caller hears."""

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from simulators.audio import Span, Track, sounds
from simulators.events import AgentSilent, AgentSpeaks, Event
from simulators.line import Line
from simulators.timeline import Timeline
from tests.simulators.far_end import TONE


class _Sink:
    def __init__(self) -> None:
        self.frames: list[tuple[float, int, bytes]] = []

    def caller_frame(self, start: int, frame: bytes) -> None:
        self.frames.append((trio.current_time(), start, frame))


def _line(tell: list[Event] | None = None) -> Line:
    return Line(Timeline(trio.current_time()), tell=(tell if tell is not None else []).append)


async def test_the_clock_does_not_drift_in_ten_minutes(autojump_clock: MockClock) -> None:
    line, sink = _line(), _Sink()
    line.attach(sink)
    began_at = trio.current_time()
    with trio.move_on_after(600.01):
        await line.run()
    assert len(sink.frames) == 30_000
    for number, (came_at, start, _) in enumerate(sink.frames):
        assert abs(came_at - (began_at + (number + 1) * 0.020)) < 1e-6
        assert start == number * 160


async def test_a_late_frame_delays_no_other(mock_clock: MockClock) -> None:
    line, sink = _line(), _Sink()
    line.attach(sink)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.run)
        await trio.testing.wait_all_tasks_blocked()
        for jump_s in (0.095, 0.010, 0.020):  # four frames are due at once, then each in its own time
            mock_clock.jump(jump_s)
            await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [round(came_at - sink.frames[0][0], 3) for came_at, _, _ in sink.frames] == [0, 0, 0, 0, 0.010, 0.030]
    assert [start for _, start, _ in sink.frames] == [0, 160, 320, 480, 640, 800]


async def test_words_begin_with_a_frame_and_the_last_frame_is_filled(autojump_clock: MockClock) -> None:
    line = _line()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.run)
        await trio.sleep(0.030)
        start = line.next_sample()
        await line.speak(b"\x10" * 200)
        nursery.cancel_scope.cancel()
    assert start == 160
    assert line.caller.read(0, 600) == b"\xff" * 160 + b"\x10" * 200 + b"\xff" * 240


async def test_words_that_are_cancelled_are_never_said(autojump_clock: MockClock) -> None:
    line = _line()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.run)
        with trio.move_on_after(0.050):
            await line.speak(b"\x10" * 8000)
        await trio.sleep(0.5)
        nursery.cancel_scope.cancel()
    assert line.caller.read(0, 400) == b"\x10" * 320 + b"\xff" * 80


async def test_the_caller_hears_the_agent_begin_and_stop(autojump_clock: MockClock) -> None:
    told: list[Event] = []
    line = _line(told)
    line.play(1000, TONE[:800])
    line.play(4000, TONE[:800])  # 0.275 s later: still the same speech
    line.play(12000, TONE[:80])
    with trio.move_on_after(3.0):
        await line.run()
    assert told == [
        AgentSpeaks(at_s=1000 / 8000),
        AgentSilent(at_s=4800 / 8000),
        AgentSpeaks(at_s=12000 / 8000),
        AgentSilent(at_s=12080 / 8000),
    ]


def test_a_click_is_no_sound() -> None:
    assert sounds(b"\xff" * 100 + b"\x10" * 3 + b"\xff" * 100, gap_s=0.1) == ()
    assert sounds(b"\xff" * 100 + b"\x10" * 4 + b"\xff" * 100, gap_s=0.1) == (Span(100, 104),)


def test_sounds_closer_than_the_gap_are_one() -> None:
    audio = TONE[:84] + b"\xff" * 796 + TONE[:80]
    assert sounds(audio, gap_s=0.1) == (Span(0, 960),)
    audio = TONE[:80] + b"\xff" * 800 + TONE[:80]
    assert sounds(audio, gap_s=0.1) == (Span(0, 80), Span(880, 960))


def test_silence_has_no_sounds() -> None:
    assert sounds(b"", gap_s=0.1) == ()
    assert sounds(b"\xff\x7f" * 400, gap_s=0.1) == ()


@given(st.lists(st.tuples(st.integers(0, 50), st.binary(max_size=50)), max_size=20), st.integers(0, 500))
def test_a_track_holds_what_was_placed_and_silence_elsewhere(pieces: list[tuple[int, bytes]], end: int) -> None:
    track, expected = Track(), b""
    for gap, audio in pieces:
        track.place(len(track) + gap, audio)
        expected += b"\xff" * gap + audio
    assert track.read(0, end) == expected[:end].ljust(end, b"\xff")
    track.cut(end)
    assert len(track) == min(len(expected), end)

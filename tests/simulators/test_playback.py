"""The queue to the caller's ear: what sounds when, and when marks come back."""

from hypothesis import given
from hypothesis import strategies as st

from simulators.twilio.playback import CAPACITY_SAMPLES, Playback


def test_audio_for_an_empty_queue_sounds_at_once() -> None:
    assert Playback().media(160, now=1000) == (Playback(free_at=1160), 1000)


def test_audio_for_a_queue_that_plays_sounds_when_that_is_played() -> None:
    assert Playback(free_at=1160).media(80, now=1001) == (Playback(free_at=1240), 1160)


def test_a_mark_on_an_empty_queue_is_due_at_once() -> None:
    assert Playback(free_at=900).mark("m", now=1000).due(1000)[1] == ("m",)


def test_a_mark_is_due_with_the_last_sample_before_it_and_not_before() -> None:
    playback = Playback().media(160, now=0)[0].mark("m", now=0)
    assert playback.deadline == 160
    assert playback.due(159) == (playback, ())
    assert playback.due(160) == (Playback(free_at=160), ("m",))


def test_a_clear_drops_what_is_queued_and_brings_every_mark_back_in_order() -> None:
    playback = Playback().media(160, now=0)[0].mark("a", now=0).media(160, now=0)[0].mark("b", now=0).mark("c", now=0)
    assert playback.clear(now=100) == (Playback(free_at=100), ("a", "b", "c"))


def test_ten_minutes_fit_and_a_sample_more_does_not() -> None:
    full, start = Playback().media(CAPACITY_SAMPLES, now=0)
    assert start == 0
    assert full.media(1, now=0) == (full, None)
    assert full.media(1, now=1)[1] == CAPACITY_SAMPLES


_LENGTHS = st.integers(0, 400)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("media"), _LENGTHS),
        st.tuples(st.just("mark"), st.integers(0, 5)),
        st.tuples(st.just("clear"), st.just(0)),
        st.tuples(st.just("wait"), _LENGTHS),
    ),
    max_size=40,
)


class _Loudspeaker:
    """The same queue played the long way: a sample at a time."""

    def __init__(self) -> None:
        self.now = 0
        self.heard: list[int] = []
        self.echoed: list[tuple[int, str]] = []
        self._queue: list[int | str] = []

    def put(self, *items: int | str) -> None:
        self._queue += items
        self._pass_marks()

    def wait(self, samples: int) -> None:
        for _ in range(samples):
            self.heard.append(self._queue.pop(0) if self._queue else -1)  # type: ignore[arg-type]
            self.now += 1
            self._pass_marks()

    def clear(self) -> None:
        self.echoed += [(self.now, item) for item in self._queue if isinstance(item, str)]
        self._queue = []

    def _pass_marks(self) -> None:
        while self._queue and isinstance(self._queue[0], str):
            self.echoed.append((self.now, self._queue.pop(0)))  # type: ignore[arg-type]


@given(_STEPS)
def test_the_queue_plays_and_echoes_like_one_that_is_played_sample_by_sample(steps: list[tuple[str, int]]) -> None:
    speaker, playback = _Loudspeaker(), Playback()
    track: list[int] = []
    echoed: list[tuple[int, str]] = []
    for number, (what, amount) in enumerate([*steps, ("wait", 40 * 400)]):
        now = speaker.now
        match what:
            case "media":
                speaker.put(*[number] * amount)
                playback, start = playback.media(amount, now)
                assert start is not None
                track += [-1] * (start - len(track)) + [number] * amount
            case "mark":
                speaker.put(str(number))
                playback, names = playback.mark(str(number), now).due(now)
                echoed += [(now, name) for name in names]
            case "clear":
                speaker.clear()
                playback, names = playback.clear(now)
                echoed += [(now, name) for name in names]
                del track[now:]
            case _:
                speaker.wait(amount)
                while playback.deadline is not None and playback.deadline <= speaker.now:
                    due_at = playback.deadline
                    playback, names = playback.due(due_at)
                    echoed += [(due_at, name) for name in names]
    assert echoed == speaker.echoed
    assert track + [-1] * (len(speaker.heard) - len(track)) == speaker.heard

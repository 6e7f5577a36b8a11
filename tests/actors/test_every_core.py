"""What holds for each of the six cores, whatever it is told: it never raises, it is a value, it can be salvaged."""

import typing
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.actors.agent import END_CALL, Agent, AgentPolicy
from engine.actors.pacer import Clip, Pacer
from engine.actors.stt import STT
from engine.actors.tts import TTS
from engine.actors.turn_detector import TurnDetector
from engine.actors.twilio_io import TwilioIO
from engine.call import INBOXES
from engine.mailbox import Core, SessionCore
from engine.messages.caller import CallerAudio, LineClosed
from engine.messages.line import LineEnded
from engine.messages.model import ModelToolCall
from engine.messages.recognition import Recognised, Word
from engine.messages.supervision import SessionInfo, Tick
from engine.messages.turns import BargedIn

CLIPS = ["greeting", "still_there", "goodbye", "apology", "repeat_please", "one_moment", "hold_tone"]
FIRST: dict[str, Core] = {
    "twilio_io": TwilioIO(),
    "stt": STT(),
    "turn_detector": TurnDetector(),
    "agent": Agent(policy=AgentPolicy(phrases=dict.fromkeys(CLIPS, "A phrase."))),
    "tts": TTS(),
    "pacer": Pacer(clips={name: Clip(text="A phrase.", audio=b"p" * 3300) for name in CLIPS}),
}

NUMBERS = st.sampled_from([0, 0, 0, 0, 1])
TIMES = st.floats(0.0, 20.0)
TEXTS = st.sampled_from(["", " ", "yes", "Of course. ", "one two three, four five", "No! ", "*very* "])
WORDS = st.builds(Word, text=st.sampled_from(["yes", "no"]), start_s=TIMES, end_s=TIMES)
AUDIO = st.sampled_from([0, 1, 160, 400, 3000]).map(lambda size: b"a" * size)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "start_s": TIMES,
    "end_s": TIMES,
    "at_s": TIMES,
    "covered_s": TIMES,
    "audio": AUDIO,
    "words": st.lists(WORDS, max_size=3).map(tuple),
    "text": TEXTS,
    "heard": TEXTS,
    "turn": NUMBERS,
    "index": NUMBERS,
    "pieces": NUMBERS,
    "keep_bytes": st.integers(0, 900),
    "clip": st.sampled_from(CLIPS),
    **dict.fromkeys(["from_s", "to_s"], st.sampled_from([0.0, 0.5, 1.0, 4.0, 30.0])),
    "greeting": st.just("greeting"),
    "digit": st.sampled_from("0#"),
    "request": NUMBERS.map("r{}".format),
    "id": NUMBERS.map("t{}".format),
    "name": st.sampled_from(["0:1:0", "0:0:0", "0:0:0:12160", "1:1:0", "1:2:1", "2:3:0", "elsewhere", END_CALL]),
    "arguments": st.just({}),
    "value": st.just("done"),
    "stop": st.sampled_from(["end_turn", "tool_use", "max_tokens", "refusal"]),
    "reason": st.just("why"),
    "away_s": st.sampled_from([0.0, 0.4, 7.0]),
    "policy": st.just(AgentPolicy(phrases=dict.fromkeys(CLIPS, "A phrase."), models=("any", "other"))),
    "kinds": st.sampled_from([(), ("down",), ("529", "down"), ("401", "refused")]),
    **dict.fromkeys(["input_tokens", "output_tokens"], st.integers(0, 900)),
    **dict.fromkeys(["voiced", "own", "is_final", "speech_final", "ok", "refused", "settled"], st.booleans()),
    **dict.fromkeys(["firm", "speech_ending", "semantic"], st.booleans()),
}


def messages(name: str) -> st.SearchStrategy[Any]:
    """Anything that an actor may read, and news of a session."""
    kinds: list[type] = [kind for kind in typing.get_args(INBOXES[name]) if kind is not Tick]
    if isinstance(FIRST[name], SessionCore):
        kinds.append(SessionInfo)
    fields = {**FIELDS, "vendor": st.just("any"), "incarnation": NUMBERS, "aligned": st.booleans()}
    return st.one_of(
        [st.builds(kind, **{field.name: fields[field.name] for field in attrs.fields(kind)}) for kind in kinds]
    )


def sensible(message: Any, now: float, cuts: int) -> Any:
    """A recogniser hears nothing before it was said, sound comes when it is made, and after a barge-in turns go on."""
    if hasattr(message, "turn"):
        message = attrs.evolve(message, turn=cuts + (0 if isinstance(message, BargedIn) else message.turn))
    match message:
        case CallerAudio(audio=audio):
            return attrs.evolve(message, start_s=now, end_s=now + max(1, len(audio)) / 8000)
        case Recognised(covered_s=covered_s):
            return attrs.evolve(message, covered_s=min(covered_s, now))
        case _:
            return message


def stepped(core: Core, message: object, now: float) -> tuple[Core, list[object]]:
    if isinstance(message, SessionInfo):
        assert isinstance(core, SessionCore)
        return core.started(message, now)
    return core.handle(message, now)


@pytest.mark.parametrize("name", FIRST)
@given(data=st.data())
def test_a_core_is_a_value_that_never_raises_and_that_a_salvaged_one_equals(name: str, data: st.DataObject) -> None:
    first = core = FIRST[name]
    now = 0.0
    cuts = 0
    plan = data.draw(
        st.lists(st.tuples(st.sampled_from([0.0, 0.02, 0.3, 1.1, 4.0, 11.0]), messages(name)), min_size=20, max_size=40)
    )
    seen = set[str]()
    for position, (gap, drawn) in enumerate(plan):
        if isinstance(drawn, LineClosed | LineEnded) and position < len(plan) - 3:
            continue  # what follows the end is soon told
        ticks = 0
        while core.deadline <= now + gap:
            deadline = core.deadline
            core = checked(first, core, Tick(), deadline)
            assert core.deadline > deadline
            ticks += 1
            assert ticks < 1000
        now += gap
        message = sensible(drawn, now, cuts)
        cuts += isinstance(message, BargedIn)
        if isinstance(message, ModelToolCall):  # as the model's side promises: no id twice
            if message.id in seen:
                continue
            seen.add(message.id)
        core = checked(first, core, message, now)


def checked(first: Core, core: Core, message: object, now: float) -> Core:
    after, effects = stepped(core, message, now)
    assert stepped(core, message, now) == (after, effects)
    fresh = first.fresh(core)
    assert fresh.deadline == core.deadline
    assert stepped(fresh, message, now) == (after, effects)
    bare = first.bare(core)
    if not isinstance(message, Tick) or bare.deadline <= now:
        after_bare, _ = stepped(bare, message, now)
        assert not isinstance(message, Tick) or after_bare.deadline > now
    assert first.bare(after) == first.bare(first.fresh(after))
    return after

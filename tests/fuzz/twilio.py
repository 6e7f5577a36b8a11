"""The phone network's messages, mangled, on the line of a call that is under way, and in the place of `start`."""

import base64
import random
from typing import Final

import trio

from simulators.audio import SILENCE
from simulators.twilio import wire
from simulators.virtual.script import PHRASES, Say, VirtualCaller, VirtualScript, answer, vocabulary_of_a_call
from tests.fuzz.forms import is_sound_twilio, is_stop
from tests.fuzz.mangling import Mangled, mangled
from tests.fuzz.rig import Desk, Line, Tally, is_named, new_sid, talk

WIRE: Final = "twilio, in a call"
WIRE_BEFORE: Final = "twilio, before start"
MESSAGES_A_CALL: Final = 60
LOGGED: Final = 5
"""Malformed messages of one call that have a line in the log each; all are counted."""


def whole_messages(line: Line) -> dict[str, str]:
    """Return what the phone network says in a call, one of each kind."""
    ids, audio = line.ids, SILENCE * 160
    return {
        "media": wire.media(7, ids, chunk=5, timestamp_ms=100, audio=audio),
        "mark": wire.mark(8, ids, name="m1"),
        "dtmf": wire.dtmf(9, ids, digit="5"),
        "stop": wire.stop(10, ids),
        "start": wire.start(1, ids),
        "connected": wire.connected(),
    }


def by_hand(line: Line, dice: random.Random) -> Mangled:
    """Return one of those that no mangling makes."""
    whole = whole_messages(line)
    other = Line(stream_sid="MZ" + "f" * 32, call_sid=new_sid())
    long_audio = bytes(dice.randrange(256) for _ in range(dice.choice((1, 159, 161, 320, 7999, 8000))))
    return dice.choice(
        (
            Mangled("second start", whole["start"]),
            Mangled("second start", whole["connected"]),
            Mangled("wrong streamSid", whole_messages(other)[dice.choice(("media", "mark", "dtmf", "stop"))]),
            Mangled("odd audio", wire.media(7, line.ids, chunk=5, timestamp_ms=100, audio=long_audio)),
            Mangled("empty audio", wire.media(7, line.ids, chunk=5, timestamp_ms=100, audio=b"")),
            Mangled("too much audio", wire.media(7, line.ids, chunk=5, timestamp_ms=100, audio=b"\xff" * 8001)),
            Mangled("other track", whole["media"].replace('"inbound"', '"outbound"')),
            Mangled("raw audio", base64.b64encode(long_audio).decode()),
            Mangled("raw audio", long_audio),
            Mangled("marks of nobody", wire.mark(8, line.ids, name=dice.choice(("", "x" * 5000, "\x00", "7", "é")))),
        )
    )


async def in_calls(desk: Desk, tally: Tally, dice: random.Random, total: int) -> None:
    """Send so many broken messages, some dozens a call; every second call is sent nothing that is sound after all."""
    sent = 0
    while sent < total:
        line = Line(call_sid=new_sid())
        whole = whole_messages(line)
        nothing_sound = dice.random() < 0.5
        async with desk.calling(line) as over:
            await trio.sleep(dice.choice((0.05, 0.5, 3.0)))  # in the greeting, between its words, after it
            for _ in range(min(MESSAGES_A_CALL, total - sent)):
                broken = by_hand(line, dice) if dice.random() < 0.15 else mangled(whole[dice.choice(list(whole))], dice)
                if nothing_sound and is_sound_twilio(broken.message, line.stream_sid):
                    continue
                await _send(desk, tally, line, over, broken)
                sent += 1
                if is_stop(broken.message, line.stream_sid):
                    break
            if nothing_sound and not over.is_set():
                await _still_served(desk, line)


async def _send(desk: Desk, tally: Tally, line: Line, over: trio.Event, broken: Mangled) -> None:
    eyes = desk.eyes
    before = eyes.counters()
    eyes.logs.clear()
    line.inject(broken.message)
    await trio.sleep(0.001)
    counted = eyes.counters() - before
    named = [line_["why"] for line_ in eyes.said("bad_message")]
    sound = is_sound_twilio(broken.message, line.stream_sid)
    bad = counted.pop("bad_messages twilio", 0)
    tally.add(WIRE, broken.how, counted=bad, named=named[0] if named else "")
    if bad != (not sound):
        tally.complain(WIRE, broken, f"counted {bad} times, and it is {'sound' if sound else 'broken'}")
    if counted:
        tally.complain(WIRE, broken, f"counted too: {dict(counted)}")
    if len(named) > bad or not all(map(is_named, named)):
        tally.complain(WIRE, broken, f"named {named}")
    for line_ in eyes.said("step_raised", "line_failed", "actor_stalled", "gave_up"):
        tally.complain(WIRE, broken, f"logged {line_}")
    if over.is_set() and not is_stop(broken.message, line.stream_sid):
        tally.complain(WIRE, broken, f"it ended the call: {desk.store.ended_reason(line.call_sid)}")


async def _still_served(desk: Desk, line: Line) -> None:
    """Say words on a line that was sent nothing but what is broken: they must be heard and answered as ever."""
    said = ("still", "here")
    caller = VirtualCaller(
        phone=line, script=VirtualScript(steps=(Say(words=said),)), vocabulary=vocabulary_of_a_call()
    )
    await talk(caller)
    should = [*PHRASES["greeting"].split(), *answer(" ".join(said)).split()]
    if line.words() != should or line.ear.gaps or caller.repeated:
        desk.disturbed(f"the victim {line.call_sid} heard {line.words()}, ought to be {should}")


async def before_start(desk: Desk, tally: Tally, dice: random.Random, total: int) -> None:
    """Open so many lines that say something broken in the place of their first words."""
    for _ in range(total):
        line = Line(call_sid=new_sid(), opening=False, heeds=False)
        whole = wire.start(1, line.ids) if dice.random() < 0.8 else wire.connected()
        broken = mangled(whole, dice)
        eyes = desk.eyes
        before = eyes.counters()
        eyes.logs.clear()
        line.inject(broken.message)
        async with desk.calling(line) as over:
            with trio.move_on_after(0.2):
                await over.wait()
        counted = eyes.counters() - before
        named = [line_["why"] for line_ in eyes.said("line_refused")]
        refusals = sum(count for name, count in counted.items() if name.startswith("refused start "))
        tally.add(WIRE_BEFORE, broken.how, counted=refusals, named=named[0] if named else "")
        if sum(counted.values()) > 1:
            tally.complain(WIRE_BEFORE, broken, f"counted {dict(counted)}")
        if refusals != len(named) or not all(map(is_named, named)):
            tally.complain(WIRE_BEFORE, broken, f"named {named}, counted {refusals}")
        if line.call_sid in {call.call_sid for call in desk.store.open_calls()}:
            tally.complain(WIRE_BEFORE, broken, "a call was left open")
        for line_ in eyes.said("step_raised", "line_failed", "actor_stalled", "gave_up"):
            tally.complain(WIRE_BEFORE, broken, f"logged {line_}")

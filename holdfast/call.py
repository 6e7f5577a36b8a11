"""Call: a simulated call to a running server, watched as it goes, measured from outside, and kept."""

import json
import secrets
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final

import attrs
import cattrs
import httpx
import trio
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from engine.faults import as_table
from engine.faulty import Report
from engine.messages.conversation import AgentSaid, CallerSaid, Noted, ToolAnswered, ToolCalled
from engine.messages.errors import ConfigError
from engine.messages.records import Record, Timing
from engine.storage.store import Store
from holdfast.keys import ADMIN_TOKEN
from simulators import events, recording
from simulators.caller import AwaitHangUp, CallerScript, Listen, Say, Step, Voice
from simulators.trial import LiveTrial, Scenario, Sound, unmet
from simulators.twilio.call import Network, NoServerError, place_call
from simulators.twilio.record import CallRecord
from simulators.voice import LocalVoice
from web.admin import FAULTS

STAGES: Final = {
    "transcript_final": "final",
    "first_token": "token",
    "first_clause": "clause",
    "first_audio": "audio",
    "first_sound": "sound",
}
"""The stages of an answer, in order, and how they are headed: the last word's final transcript, the first token of the
answer, its first clause, the first of its audio, the first frame sent."""

CLOSED_BY_SERVER: Final = 31921

SHOWN: Final = 160
"""Characters of a tool's answer that are shown; all of it is in the JSON."""

SILENCE_S: Final = 2.5
PATIENCE_S: Final = 20.0
"""How a caller hears that an agent to whom things happen has finished, and how long it waits for that."""

REPORT_LOOKS: Final = 25
"""How often a call's report is asked for until the call has ended: the engine winds up for some seconds at most."""

LOOK_EVERY_S: Final = 0.2
"""How often the conversation is looked at while the call goes on. Five times a second reads as live."""


@attrs.frozen(kw_only=True)
class Kept:
    """What is left of a call: its record, what the engine wrote down, and where the files are.

    conversation, timings: empty where the server's database cannot be read from here.
    report: the engine's own, of a call that was made to fail.
    """

    record: CallRecord
    conversation: Sequence[Record]
    timings: Sequence[Timing]
    wav: Path
    json: Path
    report: Report | None = None


async def call(  # noqa: PLR0913 - what a call is, and where to show and keep it
    script: CallerScript,
    *,
    server_url: str,
    store: Store | None,
    folder: Path,
    console: Console,
    name: str = "call",
    auth_token: str | None = None,
    call_sid: str | None = None,
    voice: Voice | None = None,
) -> Kept:
    """Place a call and return what is left of it.

    auth_token: signs all that the phone network asks, as a server that has one wants it.
    call_sid: the call's; None: one that was never there before.
    voice: the caller's; None: the embedded one.

    store: the server's, opened for reading, for the live transcript and the engine's own timings.
    Raises ConfigError where no server answers.
    """
    watch = _Watch(console=console, store=store)
    async with trio.open_nursery() as nursery:
        if store is not None:
            nursery.start_soon(watch.look)
        console.print("[dim]rendering what the caller will say[/dim]")
        record = await place_call(
            server_url=server_url,
            caller=script,
            voice=voice or LocalVoice(),
            network=Network(auth_token=auth_token, call_sid=call_sid),
            on_event=watch.saw,
        )
        await trio.sleep(LOOK_EVERY_S)  # the engine writes its last rows when the line has gone
        nursery.cancel_scope.cancel()
    conversation: Sequence[Record] = ()
    timings: Sequence[Timing] = ()
    if store is not None and record.call_sid:
        conversation = await trio.to_thread.run_sync(store.conversation, record.call_sid)
        timings = await trio.to_thread.run_sync(store.timings, record.call_sid)
        watch.show(conversation)
    wav, path = recording.save(record, folder, name=name)
    body = {
        **recording.as_json(record),
        "conversation": [
            {"position": each.position, "kind": type(each.entry).__name__, **cattrs.unstructure(each.entry)}
            for each in conversation
        ],
        "engine_timings": [attrs.asdict(each) for each in timings],
    }
    await trio.Path(path).write_text(json.dumps(body, indent=2, ensure_ascii=False, default=str) + "\n")
    return Kept(record=record, conversation=conversation, timings=timings, wav=wav, json=path)


@attrs.define(eq=False, kw_only=True)
class _Watch:
    """Prints a call as it goes: what the phone network sees, and what the engine writes down."""

    console: Console
    store: Store | None
    _stream_sid: str = ""
    _shown: dict[int, str] = attrs.field(factory=dict)

    def saw(self, event: events.Event) -> None:
        """Print an event of the phone network."""
        match event:
            case events.Ringing(dialled_number=dialled):
                self._line(event.at_s, "phone", f"dialling {dialled}")
            case events.Connected(stream_sid=sid):
                self._stream_sid = sid
                self._line(event.at_s, "phone", "connected")
            case events.CallerSpeaks(text=text):
                self._line(event.at_s, "caller", text, "bold cyan")
            case events.AgentSpeaks() if self.store is None:
                self._line(event.at_s, "agent", "speaks")
            case events.CallerPressed(digit=digit):
                self._line(event.at_s, "caller", f"presses {digit}")
            case events.CallerGaveUp(waited_for=what):
                self._line(event.at_s, "caller", f"waited in vain for {what}", "yellow")
            case events.Cleared(dropped_s=dropped_s):
                self._line(event.at_s, "phone", f"the agent stops; the last {dropped_s:.1f} s on its way are not heard")
            case events.NetworkSaid(text=text):
                self._line(event.at_s, "phone", f"says: {text}")
            case events.Noticed(code=code, text=text):
                # Twilio's own debugger says 31921 of every call that the server ends.
                self._line(
                    event.at_s, "phone", f"notice {code}: {text}", "dim" if code == CLOSED_BY_SERVER else "yellow"
                )
            case events.HungUp(by=by, why=why):
                self._line(event.at_s, "phone", f"hung up by the {by}: {why}")
            case _:
                pass

    async def look(self) -> None:
        """Print what the engine has written down since the last look, until cancelled."""
        call_sid = ""
        while True:
            await trio.sleep(LOOK_EVERY_S)
            if self.store is None or not self._stream_sid:
                continue
            if not call_sid:
                calls = await trio.to_thread.run_sync(self.store.open_calls)
                call_sid = next((each.call_sid for each in calls if each.stream_sid == self._stream_sid), "")
            if call_sid:
                self.show(await trio.to_thread.run_sync(self.store.conversation, call_sid))

    def show(self, conversation: Sequence[Record]) -> None:
        """Print what is new in a conversation."""
        for row in conversation:
            text = _told(row)
            before = self._shown.get(row.position, "")
            if text == before:
                continue
            self._shown[row.position] = text
            new = text[len(before) :].strip() if text.startswith(before) else text
            style = "green" if isinstance(row.entry, AgentSaid) else "dim"
            self._line(row.at_s, _who(row), new, style)

    def _line(self, at_s: float, who: str, text: str, style: str = "") -> None:
        self.console.print(f"[dim]{at_s:6.1f} s[/dim]  {who:>7}  ", end="", highlight=False)
        self.console.print(text, style=style, markup=False, highlight=False)


def _who(row: Record) -> str:
    match row.entry:
        case AgentSaid():
            return "agent"
        case CallerSaid():
            return "heard"
        case ToolCalled() | ToolAnswered():
            return "tool"
        case Noted():
            return "note"


def _told(row: Record) -> str:
    match row.entry:
        case AgentSaid(text=text, interrupted=interrupted):
            return f"{text} [interrupted]" if interrupted else text
        case CallerSaid(text=text) | Noted(text=text):
            return text
        case ToolCalled(name=name, arguments=arguments):
            return f"{name}({', '.join(f'{key}={value}' for key, value in arguments.items())})"
        case ToolAnswered(ok=ok, value=value):
            answer = json.dumps(value, ensure_ascii=False)
            return f"{'→' if ok else '✗'} {answer if len(answer) <= SHOWN else f'{answer[:SHOWN]}…'}"


def caller_of(trial: Scenario) -> CallerScript:
    """Return the caller of a scenario with faults: polite, and slow to believe that the agent has finished."""
    steps: list[Step] = [Listen(silence_s=SILENCE_S, timeout_s=PATIENCE_S)]
    for text in trial.caller:
        steps += [Say(text=text), Listen(silence_s=SILENCE_S, timeout_s=PATIENCE_S)]
    return CallerScript(steps=(*steps, AwaitHangUp(timeout_s=3.0)))


async def call_with_faults(
    trial: Scenario, place: Callable[..., Awaitable[Kept]], *, server_url: str, token: str | None
) -> Kept:
    """Have a server's next call fail as a scenario says, place it, and return what is left of it, with its report.

    place: `call`, but for the call's SID. token: the server's admin token, which one on this machine does not ask for.
    Raises ConfigError for a server that takes no faults, or not these.
    """
    call_sid = "CA" + secrets.token_hex(16)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    # No proxy of the world outside stands between this machine and a server on it.
    async with httpx.AsyncClient(base_url=server_url, headers=headers, trust_env=False, timeout=10.0) as client:
        body = {"call_sid": call_sid, "seed": trial.seed, "faults": [as_table(fault) for fault in trial.faults]}
        try:
            answer = await client.post(FAULTS, content=json.dumps(body), headers={"Content-Type": "application/json"})
        except httpx.HTTPError as error:
            raise NoServerError(f"no server answers at {server_url}; is 'holdfast serve' running there?") from error
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise ConfigError(
                f"the server at {server_url} takes no faults from here; start it with 'holdfast serve --allow-faults', "
                f"and from another machine set {ADMIN_TOKEN} to its admin token"
            )
        if answer.status_code != HTTPStatus.NO_CONTENT:
            raise ConfigError(f"the server at {server_url} refuses the faults: {answer.text.strip()}")
        kept = await place(call_sid=call_sid)
        report = None
        for _ in range(REPORT_LOOKS):
            answer = await client.get(f"{FAULTS}/{call_sid}")
            report = Report.from_json(answer.json()) if answer.status_code == HTTPStatus.OK else None
            if report is not None and report.ended is not None:
                break
            await trio.sleep(LOOK_EVERY_S)
    return attrs.evolve(kept, report=report)


def judged(trial: Scenario, kept: Kept, console: Console) -> list[str]:
    """Print what happened in a call with faults, and what of it was not expected; return that."""
    if kept.report is None:
        wrong = ["the call never reached the engine"]
    else:
        console.print(kept.report.timeline(), markup=False, highlight=False, soft_wrap=True)
        said = [
            Sound(who="caller", start_s=each.at_s, end_s=each.until_s)
            for each in kept.record.all_of(events.CallerSpeaks)
        ]
        heard = [
            Sound(who="agent", start_s=each.start_s, end_s=each.end_s) for each in recording.measure(kept.record).agent
        ]
        live = LiveTrial(report=kept.report, sounds=(*said, *heard), end_s=kept.record.duration_s)
        wrong = unmet(trial.expect, live)
    for line in wrong:
        console.print(f"NOT AS EXPECTED: {line}", style="bold red", markup=False, highlight=False)
    if not wrong:
        console.print("as expected", style="green")
    return wrong


def waterfall(kept: Kept, console: Console) -> None:
    """Print, for each of the caller's turns, when each stage of its answer was reached, and what was heard outside."""
    turns: dict[int, dict[str, float]] = {}
    for timing in kept.timings:
        turns.setdefault(timing.turn, {})[timing.stage] = timing.at_s
    table = Table(title="milliseconds from the caller's last word to the first …", title_justify="left", box=SIMPLE)
    table.add_column("turn", min_width=4)
    for heading in STAGES.values():
        table.add_column(heading, justify="right", min_width=6)
    table.add_column("the caller said", overflow="ellipsis", no_wrap=True, max_width=40)
    said = {row.entry.turn: row.entry.text for row in kept.conversation if isinstance(row.entry, CallerSaid)}
    for turn, stages in sorted(turns.items()):
        if "last_word" not in stages:
            continue
        cells = [f"{(stages[stage] - stages['last_word']) * 1000:.0f}" if stage in stages else "–" for stage in STAGES]
        table.add_row(str(turn), *cells, said.get(turn, ""))
    if table.row_count:
        console.print(table)
    measured = recording.measure(kept.record)
    if measured.greeting_delay_s is not None:
        console.print(f"greeting heard {measured.greeting_delay_s * 1000:.0f} ms after 'start'", highlight=False)
    waits = [f"{turn.voice_to_voice_s * 1000:.0f}" for turn in measured.turns if turn.voice_to_voice_s is not None]
    if measured.voice_to_voice_s is not None:
        console.print(
            f"voice to voice, measured at the phone: median {measured.voice_to_voice_s * 1000:.0f} ms "
            f"(by turn: {', '.join(waits)})",
            highlight=False,
        )
    for spoken in measured.turns:
        if spoken.agent_silent_after_s is not None:
            stopped_ms = spoken.agent_silent_after_s * 1000
            console.print(f"spoken over, the agent was silent after {stopped_ms:.0f} ms", highlight=False)


def open_store(url: str) -> Store | None:
    """Open the server's store to read from, or return None where there is none: the call works without."""
    try:
        return Store.open(url)
    except ConfigError:
        return None

"""A day at the clinic's telephone: one server process with the shipped configuration, and all who call it.

Real processes, sockets, models and time. To keep the wall clock short, everything happens once, much of it at once; the
tests then ask what came of it.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import httpx
import trio

from engine.messages.records import Record
from engine.storage.store import Store
from simulators.caller import AwaitHangUp, CallerScript, HangUp, Listen, Say
from simulators.events import CallerSpeaks, Event
from simulators.twilio.call import place_call
from simulators.twilio.record import CallRecord
from simulators.twilio.socket import GONE, open_socket
from simulators.voice import LocalVoice

ROOT = Path(__file__).parents[2]
NUMBER, NOBODYS_NUMBER = "+15550100002", "+15550109999"
OPENING = "Hello, I would like to make an appointment, please."
LONG = "Thursday at ten o'clock in the morning would be best, or on Friday, if there is nothing free on Thursday."


@attrs.define(kw_only=True)
class Server:
    """A `holdfast serve` that answers."""

    url: str
    process: trio.Process
    log: Path
    client: httpx.AsyncClient

    async def post(self, path: str, **fields: str) -> str:
        """Ask as the phone network does; returns TwiML."""
        response = await self.client.post(f"{self.url}{path}", data=fields)
        return response.raise_for_status().text

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return the log's lines of one event."""
        return [each for each in lines(self.log) if each["event"] == event]


def lines(log: Path) -> list[dict[str, Any]]:
    """Return the events of a log; what else a server says of its start is no JSON."""
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


@attrs.frozen(kw_only=True)
class Killed:
    """A call in whose second turn the server was killed.

    before, after: why it ended, as it is written down after the kill and after the restart.
    apology: the answer to the phone network, which asks the new server what to do with the call.
    """

    call_sid: str
    conversation: Sequence[Record]
    before: str | None
    after: str | None
    apology: str


@attrs.frozen(kw_only=True)
class Day:
    """What came of the day.

    booking: what `holdfast call` printed; its files are in `folder`/out.
    others: two calls that went on at the same time, with what was written down of them.
    cut_off, hung_up: what the phone network was told to do with a call whose socket broke, and whose caller hung up.
    """

    folder: Path
    healthz: dict[str, Any]
    booking: str
    others: Sequence[tuple[CallRecord, Sequence[Record]]]
    refused: CallRecord
    cut_off: str
    hung_up: str
    killed: Killed
    logged: Sequence[dict[str, Any]]
    restarted: Sequence[dict[str, Any]]
    exit_code: int


async def live_through(folder: Path) -> Day:
    """Live through the day, in about a minute."""
    configure(folder)
    voice, others = LocalVoice(), list[tuple[CallRecord, Sequence[Record]]]()
    found: dict[str, Any] = {}
    async with serving(folder, "first.log") as server:
        healthz = (await server.client.get(f"{server.url}/healthz")).raise_for_status().json()

        async def book() -> None:
            command = ["-m", "holdfast", "call", "--scenario", "book_appointment", "--server", server.url]
            done = await trio.run_process([sys.executable, *command, "--out", "out"], capture_stdout=True, cwd=folder)
            found["booking"] = done.stdout.decode()

        async def chat(caller_number: str) -> None:
            script = CallerScript(steps=(Listen(), Say(text=OPENING), Listen(), HangUp()), caller_number=caller_number)
            record = await place_call(server_url=server.url, caller=script, voice=voice)
            others.append((record, await conversation(folder, record.call_sid)))

        async def strangers() -> None:
            await garbage(server)
            found["refused"] = await place_call(
                server_url=server.url,
                caller=CallerScript(steps=(AwaitHangUp(),), dialled_number=NOBODYS_NUMBER),
                voice=voice,
            )
            found["cut_off"] = await breaks_off(server, "CA" + "a" * 32, stop=False)
            found["hung_up"] = await breaks_off(server, "CA" + "b" * 32, stop=True)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(book)
            nursery.start_soon(chat, "+15550100011")
            nursery.start_soon(chat, "+15550100012")
            nursery.start_soon(strangers)
        cut = await kill_in_mid_call(server, voice, folder)
        logged = lines(server.log)
    async with serving(folder, "second.log") as second:
        killed = attrs.evolve(
            cut,
            after=await reason(folder, cut.call_sid),
            apology=await second.post("/voice/after", CallSid=cut.call_sid, To=NUMBER, CallStatus="in-progress"),
        )
        restarted = lines(second.log)
        second.process.send_signal(signal.SIGTERM)
        with trio.fail_after(30.0):
            exit_code = await second.process.wait()
    return Day(
        folder=folder,
        healthz=healthz,
        others=others,
        killed=killed,
        logged=logged,
        restarted=restarted,
        exit_code=exit_code,
        **found,
    )


def configure(folder: Path) -> None:
    """Write the shipped configuration, with a log for machines, and a clinic that answers its own number alone."""
    (folder / "config/tenants").mkdir(parents=True)
    for name in ("engine.toml", "tenants/dental.toml"):
        text = (ROOT / "config" / name).read_text(encoding="utf-8")
        text = text.replace('format = "console"', 'format = "json"').replace("default = true", "default = false")
        (folder / "config" / name).write_text(text, encoding="utf-8")


@asynccontextmanager
async def serving(folder: Path, log_name: str) -> AsyncIterator[Server]:
    """Run a server in `folder` until the end of the block, and kill it then if it still lives."""
    log = folder / log_name
    command = [sys.executable, "-m", "holdfast", "serve", "--bind", "127.0.0.1:0"]
    with log.open("wb") as file:
        process = await trio.lowlevel.open_process(command, cwd=folder, stdin=subprocess.DEVNULL, stderr=file)
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            server = Server(url="", process=process, log=log, client=client)
            with trio.fail_after(60.0):
                while not server.logged("serving"):
                    assert process.poll() is None, log.read_text()
                    await trio.sleep(0.1)
            server.url = server.logged("serving")[0]["public_url"]
            yield server
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()


async def conversation(folder: Path, call_sid: str) -> Sequence[Record]:
    """Return what the server has written down of a call."""
    with Store.open(store_url(folder)) as store:
        return await trio.to_thread.run_sync(store.conversation, call_sid)


async def reason(folder: Path, call_sid: str) -> str | None:
    """Return why a call ended, as it is written down."""
    with Store.open(store_url(folder)) as store:
        return await trio.to_thread.run_sync(store.ended_reason, call_sid)


def store_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'var/holdfast.sqlite3'}"


async def media_url(server: Server, call_sid: str) -> str:
    twiml = await server.post("/voice/incoming", CallSid=call_sid, To=NUMBER, From="+15550100013")
    found = re.search(r'url="(ws://[^"]+)"', twiml)
    assert found is not None, twiml
    return found[1]


def start(call_sid: str, stream_sid: str) -> str:
    body = {
        "accountSid": "AC" + "0" * 32,
        "callSid": call_sid,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {},
    }
    return json.dumps({"event": "start", "sequenceNumber": "1", "streamSid": stream_sid, "start": body})


async def garbage(server: Server) -> None:
    """Send what no phone network sends: before `start`, after it, and to the bare port."""
    call_sid, stream_sid = "CA" + "f" * 32, "MZ" + "f" * 32
    async with open_socket(await media_url(server, call_sid), []) as socket:
        await socket.send_message("\0 this is no telephone")
        with suppress(*GONE):
            await socket.get_message()
    url = await media_url(server, call_sid)  # each address is good for one stream
    async with open_socket(url, []) as socket:
        await socket.send_message(start(call_sid, stream_sid))
        for number in range(500):
            await socket.send_message("}" * number)
            media = {"track": "inbound", "chunk": "1", "timestamp": "0", "payload": "/" * number}
            message = {"event": "media", "sequenceNumber": "2", "streamSid": stream_sid, "media": media}
            await socket.send_message(json.dumps(message))
    host, port = url.removeprefix("ws://").partition("/")[0].split(":")
    with suppress(trio.BrokenResourceError):
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(os.urandom(10_000))
            await stream.receive_some()


async def breaks_off(server: Server, call_sid: str, *, stop: bool) -> str:
    """Open a call's line, hear the greeting begin, and close it, with `stop` or without; return what is to come."""
    stream_sid = "MZ" + call_sid[2:]
    async with open_socket(await media_url(server, call_sid), []) as socket:
        await socket.send_message(start(call_sid, stream_sid))
        await socket.get_message()
        if stop:
            body = {"accountSid": "AC" + "0" * 32, "callSid": call_sid}
            message = {"event": "stop", "sequenceNumber": "2", "streamSid": stream_sid, "stop": body}
            await socket.send_message(json.dumps(message))
    status = "completed" if stop else "in-progress"
    return await server.post("/voice/after", CallSid=call_sid, To=NUMBER, From="+15550100013", CallStatus=status)


async def kill_in_mid_call(server: Server, voice: LocalVoice, folder: Path) -> Killed:
    """Kill the server while a caller, whose first turn was answered, is speaking."""
    listen = Listen(silence_s=0.6)
    script = CallerScript(steps=(listen, Say(text=OPENING), listen, Say(text=LONG), AwaitHangUp(timeout_s=1.0)))
    spoken, second_turn, records = list[Event](), trio.Event(), list[CallRecord]()

    def saw(event: Event) -> None:
        if isinstance(event, CallerSpeaks):
            spoken.append(event)
            if len(spoken) == 2:
                second_turn.set()

    async def call() -> None:
        records.append(await place_call(server_url=server.url, caller=script, voice=voice, on_event=saw))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await second_turn.wait()
        await trio.sleep(1.5)
        server.process.send_signal(signal.SIGKILL)
        await server.process.wait()
    sid = records[0].call_sid
    read = partial(conversation, folder)
    return Killed(call_sid=sid, conversation=await read(sid), before=await reason(folder, sid), after=None, apology="")

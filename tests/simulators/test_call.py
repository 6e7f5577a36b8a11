"""Whole calls: webhooks, TwiML, callbacks, and every way to end."""

from collections.abc import AsyncIterator

import httpx
import pytest
import trio
from trio.testing import MockClock

from engine.messages.errors import ConfigError
from simulators.caller import AwaitHangUp, CallerScript, HangUp, Say, Wait
from simulators.events import (
    Answered,
    CallerSpeaks,
    Connected,
    Dialled,
    HungUp,
    NetworkPlayed,
    NetworkSaid,
    Ringing,
    StreamEnded,
)
from simulators.twilio.call import Network, NoServerError, place_call, stream_address
from simulators.twilio.codes import Code, TwilioError
from simulators.twilio.record import CallRecord
from simulators.twilio.signature import signature
from tests.simulators.far_end import STREAM_URL, TONE, Answer, FarEnd, Stream, ToneVoice, listen, listen_on_loopback


async def close_at_once(stream: Stream) -> None:
    await stream.begin()


def _respond(verbs: str) -> str:
    return f"<Response>{verbs}</Response>"


def _connect(*, action: str = "", callback: str = "") -> str:
    return _respond(f'<Connect {action}><Stream url="{STREAM_URL}" {callback}/></Connect>')


async def test_the_first_webhook_has_every_field_and_a_signature(autojump_clock: MockClock) -> None:
    far_end = FarEnd(listen)
    record = await far_end.call(HangUp(), auth_token="secret", account_sid="AC" + "7" * 32)
    (asked,) = far_end.asked
    assert (asked.method, asked.url) == ("POST", "http://127.0.0.1:7/voice/incoming")
    assert asked.headers["Content-Type"] == "application/x-www-form-urlencoded; charset=UTF-8"
    assert asked.headers["X-Twilio-Signature"] == signature("secret", asked.url, asked.fields.items())
    expected = {
        "CallSid": record.call_sid,
        "AccountSid": "AC" + "7" * 32,
        "From": "+15550100001",
        "To": "+15550100002",
        "Caller": "+15550100001",
        "Called": "+15550100002",
        "CallStatus": "ringing",
        "Direction": "inbound",
        "ApiVersion": "2010-04-01",
        "FromCity": "",
        "FromCountry": "US",
    }
    assert asked.fields.items() >= expected.items()


async def test_the_handshake_is_signed_with_the_url_as_the_twiml_has_it_and_made_without_its_query(
    autojump_clock: MockClock,
) -> None:
    connect = _respond('<Connect><Stream url="wss://a.test/media/?token=1"/></Connect>')
    far_end = FarEnd(listen, twiml={"/voice/incoming": connect})
    await far_end.call(Wait(seconds=0.1), auth_token="secret")
    ((url, headers),) = far_end.handshakes
    assert url == "wss://a.test/media/"
    assert headers["X-Twilio-Signature"] == signature("secret", "wss://a.test/media/?token=1")


async def test_without_a_token_nothing_is_signed(autojump_clock: MockClock) -> None:
    far_end = FarEnd(listen)
    await far_end.call(Wait(seconds=0.1))
    assert "X-Twilio-Signature" not in far_end.asked[0].headers
    assert "X-Twilio-Signature" not in far_end.handshakes[0][1]


async def test_when_the_server_closes_the_stream_the_action_says_what_comes_next(autojump_clock: MockClock) -> None:
    far_end = FarEnd(
        close_at_once,
        listen,
        twiml={
            "/voice/incoming": _connect(action='action="/voice/after"'),
            "/voice/after": _respond(f'<Say>One moment.</Say><Connect><Stream url="{STREAM_URL}"/></Connect>'),
        },
    )
    record = await far_end.call(Wait(seconds=5.0), HangUp())
    assert far_end.paths() == ["/voice/incoming", "/voice/after"]
    assert far_end.asked[1].fields["CallStatus"] == "in-progress"
    assert [notice.code for notice in record.notices] == [31921]
    assert [event.text for event in record.all_of(NetworkSaid)] == ["One moment."]
    assert [event.by for event in record.all_of(StreamEnded)] == ["server", "network"]
    assert record.documents[1].startswith("<Response><Say>One moment.")
    assert len({event.stream_sid for event in record.all_of(Connected)}) == 2


async def test_without_an_action_the_next_verb_follows_and_the_end_hangs_up(autojump_clock: MockClock) -> None:
    verbs = f'<Connect><Stream url="{STREAM_URL}"/></Connect><Pause length="2"/>'
    far_end = FarEnd(close_at_once, twiml={"/voice/incoming": _respond(verbs)})
    record = await far_end.call(AwaitHangUp())
    assert (record.hung_up.by, record.hung_up.why) == ("agent", "the TwiML came to its end")
    assert record.duration_s == pytest.approx(2.0, abs=0.001)


async def test_a_caller_who_hangs_up_ends_it_all_and_no_action_is_asked(autojump_clock: MockClock) -> None:
    far_end = FarEnd(listen, twiml={"/voice/incoming": _connect(action='action="/voice/after"')})
    record = await far_end.call(Wait(seconds=1.0), HangUp(), Say(text="never said"))
    assert far_end.paths() == ["/voice/incoming"]
    assert record.hung_up == HungUp(at_s=1.0, by="caller", why="the caller hung up")
    assert record.all_of(CallerSpeaks) == ()


@pytest.mark.parametrize(
    ("verbs", "expected_s", "by"),
    [
        ("", 0.0, "agent"),
        ("<Hangup/>", 0.0, "agent"),
        ("<Pause/>", 1.0, "agent"),
        ('<Pause length="3"/><Hangup/><Pause length="9"/>', 3.0, "agent"),
        ("<Say>fifteen letters</Say>", 1.0, "agent"),
        ('<Say loop="2">fifteen letters</Say>', 2.0, "agent"),
        ('<Say loop="0">for ever</Say>', 9.0, "caller"),
        ('<Play digits="12"/>', 1.0, "agent"),
        ('<Pause length="100"/>', 9.0, "caller"),
    ],
)
async def test_a_verb_takes_its_time(autojump_clock: MockClock, verbs: str, expected_s: float, by: str) -> None:
    record = await FarEnd(twiml={"/voice/incoming": _respond(verbs)}).call(Wait(seconds=9.0), HangUp())
    assert record.duration_s == pytest.approx(expected_s, abs=0.001)
    assert record.hung_up.by == by


async def test_a_redirect_leads_to_another_document_and_nothing_after_it_runs(autojump_clock: MockClock) -> None:
    far_end = FarEnd(
        twiml={
            "/voice/incoming": _respond('<Redirect method="GET">other?x=1</Redirect><Say>never said</Say>'),
            "/voice/other": _respond("<Say>other</Say>"),
        }
    )
    record = await far_end.call(AwaitHangUp(), auth_token="secret")
    asked = far_end.asked[1]
    assert asked.method == "GET"
    assert asked.url.startswith("http://127.0.0.1:7/voice/other?x=1&CallSid=")
    assert asked.headers["X-Twilio-Signature"] == signature("secret", asked.url)
    assert [event.text for event in record.all_of(NetworkSaid)] == ["other"]


async def test_documents_in_a_circle_end(autojump_clock: MockClock) -> None:
    far_end = FarEnd(twiml={"/voice/incoming": _respond("<Redirect>/voice/incoming</Redirect>")})
    record = await far_end.call(AwaitHangUp())
    assert record.hung_up.by == "network"
    assert "circle" in record.notices[0].text


async def test_a_rejected_call_is_not_answered(autojump_clock: MockClock) -> None:
    record = await FarEnd(twiml={"/voice/incoming": _respond('<Reject reason="busy"/>')}).call(AwaitHangUp())
    assert record.hung_up.why == "the call was rejected"
    assert record.all_of(Answered) == ()


async def test_a_dial_reports_to_its_action_what_came_of_it(autojump_clock: MockClock) -> None:
    far_end = FarEnd(
        twiml={
            "/voice/incoming": _respond('<Dial action="/dialled">+15550100009</Dial>'),
            "/dialled": _respond("<Hangup/>"),
        }
    )
    record = await far_end.call(AwaitHangUp(), dial_status="no-answer", dial_s=2.5)
    (dialled,) = record.all_of(Dialled)
    assert dialled == Dialled(at_s=2.5, number="+15550100009", status="no-answer")
    assert far_end.asked[1].fields["DialCallStatus"] == "no-answer"


async def test_a_dial_without_an_action_goes_on(autojump_clock: MockClock) -> None:
    far_end = FarEnd(twiml={"/voice/incoming": _respond("<Dial>+15550100009</Dial><Say>gone</Say>")})
    record = await far_end.call(AwaitHangUp())
    assert [event.text for event in record.all_of(NetworkSaid)] == ["gone"]


async def test_a_file_is_played_to_the_caller(autojump_clock: MockClock) -> None:
    far_end = FarEnd(
        twiml={
            "/voice/incoming": _respond('<Play loop="2">/hello.wav</Play><Play>/gone.wav</Play><Play>/no.wav</Play>'),
            "/hello.wav": (200, "audio/wav", _ulaw_wav(TONE)),
            "/no.wav": (200, "audio/mpeg", "ID3"),
        }
    )
    record = await far_end.call(AwaitHangUp())
    assert [event.what for event in record.all_of(NetworkPlayed)] == ["/hello.wav", "/gone.wav", "/no.wav"]
    assert record.agent_audio == TONE + TONE
    assert [notice.code for notice in record.notices] == [11200, 12300]


def _ulaw_wav(audio: bytes) -> bytes:
    layout = b"fmt " + (16).to_bytes(4, "little") + bytes.fromhex("0700 0100 401f0000 401f0000 0100 0800")
    body = b"WAVE" + layout + b"data" + len(audio).to_bytes(4, "little") + audio
    return b"RIFF" + len(body).to_bytes(4, "little") + body


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((500, "text/xml", "<Response/>"), 11200),
        ((302, "text/xml", "<Response/>"), 11200),
        ((200, "text/xml", "<Response>"), 12100),
        ((200, "text/html", "<html/>"), 12100),
        ((200, "application/json", "{}"), 12300),
        ((200, "", "<Response/>"), 12300),
    ],
)
@pytest.mark.parametrize("at", ["/voice/incoming", "/later"])
async def test_an_answer_that_is_none_ends_the_call_with_its_code(
    autojump_clock: MockClock, at: str, answer: tuple[int, str, str], code: int
) -> None:
    twiml: dict[str, Answer] = {"/voice/incoming": _respond("<Redirect>/later</Redirect>"), at: answer}
    record = await FarEnd(twiml=twiml).call(AwaitHangUp())
    assert [notice.code for notice in record.notices] == [code]
    assert (record.hung_up.by, record.hung_up.why) == ("network", "the server's answer could not be used")


async def test_plain_text_is_spoken(autojump_clock: MockClock) -> None:
    record = await FarEnd(twiml={"/voice/incoming": (200, "text/plain", "Hello")}).call(AwaitHangUp())
    assert [event.text for event in record.all_of(NetworkSaid)] == ["Hello"]


async def test_a_doubtful_attribute_is_a_warning_and_the_call_goes_on(autojump_clock: MockClock) -> None:
    record = await FarEnd(twiml={"/voice/incoming": _respond('<Pause long="1"/>')}).call(AwaitHangUp())
    assert [(notice.code, notice.text) for notice in record.notices] == [
        (12200, "<Pause> has no attribute 'long': ignored")
    ]
    assert record.hung_up.by == "agent"


async def test_the_streams_callback_hears_of_start_and_end(autojump_clock: MockClock) -> None:
    callback = 'name="agent" statusCallback="http://127.0.0.1:7/stream"'
    twiml: dict[str, Answer] = {"/voice/incoming": _connect(callback=callback), "/stream": (204, "", "")}
    far_end = FarEnd(close_at_once, twiml=twiml)
    record = await far_end.call(AwaitHangUp())
    told = [asked.fields for asked in far_end.asked if asked.path == "/stream"]
    assert {fields["StreamEvent"] for fields in told} == {"stream-started", "stream-stopped"}
    (connected,) = record.all_of(Connected)
    for fields in told:
        assert fields["StreamSid"] == connected.stream_sid
        assert fields["StreamName"] == "agent"
        assert fields["CallSid"] == record.call_sid


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://a.test/media", 31922),
        ("ws://a.test/media", 31922),
        ("/media", 31922),
        ("wss:///media", 31923),
        ("wss://user:word@a.test/media", 31923),
        ("wss://a.test:port/media", 31923),
        ("wss://[a.test/media", 31923),
    ],
)
def test_a_stream_goes_to_a_wss_address_only(url: str, code: int) -> None:
    with pytest.raises(TwilioError) as caught:
        stream_address(url, allow_ws=False)
    assert caught.value.code == Code(code)


@pytest.mark.parametrize(
    ("url", "allow_ws", "expected"),
    [
        ("wss://a.test", False, "wss://a.test/"),
        ("wss://a.test:8443/m/1?x=1#y", False, "wss://a.test:8443/m/1"),
        ("ws://127.0.0.1:8080/m", False, "ws://127.0.0.1:8080/m"),
        ("ws://127.9.9.9/m", False, "ws://127.9.9.9/m"),
        ("ws://[::1]:8080/m", False, "ws://[::1]:8080/m"),
        ("ws://localhost/m", False, "ws://localhost/m"),
        ("ws://a.test/m", True, "ws://a.test/m"),
    ],
)
def test_the_query_of_a_stream_is_stripped_and_this_machine_needs_no_encryption(
    url: str, allow_ws: bool, expected: str
) -> None:
    assert stream_address(url, allow_ws=allow_ws) == expected


async def test_a_stream_that_cannot_be_is_told_to_its_callback_and_the_action_follows(
    autojump_clock: MockClock,
) -> None:
    connect = (
        '<Connect action="/voice/after"><Stream url="ws://a.test/m" statusCallback="http://127.0.0.1:7/s"/></Connect>'
    )
    far_end = FarEnd(
        twiml={"/voice/incoming": _respond(connect), "/voice/after": _respond("<Say>sorry</Say>"), "/s": (204, "", "")}
    )
    record = await far_end.call(AwaitHangUp())
    assert [notice.code for notice in record.notices] == [31922]
    (told,) = [asked.fields for asked in far_end.asked if asked.path == "/s"]
    assert told["StreamEvent"] == "stream-error"
    assert "does not begin with wss://" in told["StreamError"]
    assert [event.text for event in record.all_of(NetworkSaid)] == ["sorry"]


async def test_the_numbers_callback_hears_of_the_end(autojump_clock: MockClock) -> None:
    far_end = FarEnd(listen, twiml={"/voice/status": (204, "", "")})
    await far_end.call(Wait(seconds=61.0), HangUp(), status_callback="http://127.0.0.1:7/voice/status")
    fields = far_end.asked[-1].fields
    assert far_end.asked[-1].path == "/voice/status"
    assert fields["CallStatus"] == "completed"
    assert (fields["CallDuration"], fields["Duration"], fields["SequenceNumber"]) == ("61", "2", "0")


async def test_a_callback_that_fails_is_noticed_and_nothing_more(autojump_clock: MockClock) -> None:
    far_end = FarEnd(listen)
    record = await far_end.call(Wait(seconds=1.0), HangUp(), status_callback="http://127.0.0.1:7/voice/status")
    assert [notice.code for notice in record.notices] == [11200]
    assert record.hung_up.by == "caller"


async def test_a_call_is_cut_off_at_its_time_limit(autojump_clock: MockClock) -> None:
    far_end = FarEnd(listen)
    record = await far_end.call(Wait(seconds=100.0), longest_s=10.0)
    assert record.hung_up == HungUp(at_s=10.0, by="network", why="the call reached its time limit")
    assert far_end.streams[0].of("stop")


async def test_both_tracks_are_as_long_as_the_call(autojump_clock: MockClock) -> None:
    async def talk(stream: Stream) -> None:
        await stream.begin()
        await stream.play(TONE * 20)
        await stream.finish()

    record = await FarEnd(talk).call(Wait(seconds=1.234), HangUp())
    assert len(record.caller_audio) == len(record.agent_audio) == round(1.234 * 8000)


async def test_a_server_that_does_not_answer_is_given_up_after_fifteen_seconds(autojump_clock: MockClock) -> None:
    async def stall(_request: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()

    record = await FarEnd().call(AwaitHangUp(), http=httpx.MockTransport(stall))
    assert [notice.code for notice in record.notices] == [11200]
    assert trio.current_time() == pytest.approx(15.0, abs=0.001)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8080", "ftp://127.0.0.1", "http://", "http://127.0.0.1:x", "http://127.0.0.1/voice", ""]
)
async def test_an_address_that_is_none_is_refused_with_what_is_wanted(url: str) -> None:
    with pytest.raises(ConfigError, match="is not of the form 'http://HOST:PORT'"):
        await place_call(server_url=url, caller=CallerScript(steps=(HangUp(),)), voice=ToneVoice())


async def test_a_call_over_real_sockets(nursery: trio.Nursery) -> None:
    async def talk(stream: Stream) -> None:
        await stream.begin()
        await stream.play(TONE[:1600])
        await stream.mark("greeting")
        assert (await stream.until("mark"))["mark"]["name"] == "greeting"
        for _ in range(10):
            await stream.until("media")

    far_end = FarEnd(talk)
    http_url, ws_url = await nursery.start(listen_on_loopback, far_end)
    stream = f'<Connect action="/voice/after"><Stream url="{ws_url}/media"/></Connect>'
    far_end.give("/voice/incoming", _respond(stream))
    far_end.give("/voice/after", _respond("<Hangup/>"))
    seen: list[object] = []
    record = await place_call(
        server_url=http_url,
        caller=CallerScript(steps=(Say(text="ab"), AwaitHangUp())),
        voice=ToneVoice(),
        network=Network(auth_token="secret"),
        on_event=seen.append,
    )
    assert [asked.path for asked in far_end.asked] == ["/voice/incoming", "/voice/after"]
    for asked in far_end.asked:
        assert asked.headers["X-Twilio-Signature"] == signature("secret", asked.url, asked.fields.items())
    assert record.hung_up.by == "agent"
    assert [notice.code for notice in record.notices] == [31921]
    assert isinstance(seen[0], Ringing)
    assert TONE[:1600] in record.agent_audio
    nursery.cancel_scope.cancel()


@pytest.fixture
async def free_port() -> AsyncIterator[int]:
    """A port at which nobody answers, and nobody else can."""
    with trio.socket.socket() as taken:
        await taken.bind(("127.0.0.1", 0))  # bound, not listening
        yield taken.getsockname()[1]


async def test_no_server_is_said_in_one_sentence(free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}"
    with pytest.raises(NoServerError) as caught:
        await place_call(server_url=url, caller=CallerScript(steps=(HangUp(),)), voice=ToneVoice())
    assert str(caught.value) == f"no server answers at {url}; is 'holdfast serve' running there?"


async def test_a_handshake_that_is_not_upgraded_is_noticed_and_the_call_goes_on(nursery: trio.Nursery) -> None:
    far_end = FarEnd(twiml={"/media": (403, "text/plain", "no")})
    http_url, _ = await nursery.start(listen_on_loopback, far_end)
    stream = f'<Connect><Stream url="{http_url.replace("http", "ws")}/media"/></Connect>'
    far_end.give("/voice/incoming", _respond(f"{stream}<Say>a</Say>"))
    record = await _listen_on(http_url)
    assert [notice.code for notice in record.notices] == [31920]
    assert [event.text for event in record.all_of(NetworkSaid)] == ["a"]
    nursery.cancel_scope.cancel()


async def test_a_connection_that_is_refused_is_noticed_and_the_call_goes_on(
    nursery: trio.Nursery, free_port: int
) -> None:
    far_end = FarEnd()
    http_url, _ = await nursery.start(listen_on_loopback, far_end)
    stream = f'<Connect><Stream url="ws://127.0.0.1:{free_port}/media"/></Connect>'
    far_end.give("/voice/incoming", _respond(f"{stream}<Say>a</Say>"))
    record = await _listen_on(http_url)
    assert [notice.code for notice in record.notices] == [31902]
    assert [event.text for event in record.all_of(NetworkSaid)] == ["a"]
    nursery.cancel_scope.cancel()


async def _listen_on(url: str) -> CallRecord:
    return await place_call(server_url=url, caller=CallerScript(steps=(AwaitHangUp(),)), voice=ToneVoice())

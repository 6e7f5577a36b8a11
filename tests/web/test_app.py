"""The webhooks: what Twilio is told, whom it is not told, and what is written down."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock
from werkzeug.datastructures import MultiDict

from engine.messages.admission import NextStep
from engine.messages.callbacks import CallReported, StreamReported
from engine.messages.errors import ConfigError, EngineBug
from simulators.twilio.signature import signature
from simulators.twilio.twiml import Connect, Dial, Hangup, Redirect, Say, Verb, parse
from tests.web.front import CALL_SID, INCOMING, PUBLIC_URL, TICKET, Front, media_path
from web import twiml
from web.app import _moment
from web.door import DoorPolicy
from web.tickets import Opened

Form = Mapping[str, str] | MultiDict[str, str]

AFTER = INCOMING | {"CallStatus": "in-progress"}
PATHS = ("/voice/incoming", "/voice/after", "/voice/status", "/voice/stream-status")
DOORS = ("incoming", "after", "status", "stream_status")
AUTH_TOKEN = "secret"


async def post(front: Front, path: str, form: Form) -> tuple[Verb, ...]:
    """The verbs that Twilio is told, read as strictly as Twilio reads them."""
    response = await front.app.test_client().post(path, form=form)
    assert response.status_code == 200
    assert response.content_type == "text/xml; charset=utf-8"
    document = parse(await response.get_data(as_text=False))
    assert document.warnings == ()
    return document.verbs


async def ask(front: Front, path: str, form: Form = INCOMING, **more: Any) -> tuple[int, str]:
    """The status and the text of an answer."""
    response = await front.app.test_client().post(path, form=form, **more)
    return response.status_code, await response.get_data(as_text=True)


async def get(front: Front, path: str, *, peer: str = "127.0.0.1", **headers: str) -> tuple[int, str]:
    written = {name.replace("_", "-"): value for name, value in headers.items()}
    response = await front.app.test_client().get(path, headers=written, scope_base={"client": (peer, 5)})
    return response.status_code, await response.get_data(as_text=True)


def call(n: int, **fields: str) -> dict[str, str]:
    return INCOMING | {"CallSid": f"CA{n:032x}", "From": f"+1555020{n:04}"} | fields


def says(text: str) -> tuple[Verb, ...]:
    return (Say(text=text, loop=1), Hangup())


# ── an incoming call ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_incoming_call_is_connected_to_a_media_socket_of_its_own() -> None:
    front = Front()
    connect, redirect = await post(front, "/voice/incoming", INCOMING)
    assert isinstance(connect, Connect)
    assert redirect == Redirect(url=f"{PUBLIC_URL}/voice/after", method="POST")  # where the action is not asked
    assert (connect.action, connect.method) == (f"{PUBLIC_URL}/voice/after", "POST")
    stream = connect.stream
    assert (stream.status_callback, stream.status_callback_method) == (f"{PUBLIC_URL}/voice/stream-status", "POST")
    assert stream.parameters == {}
    origin, _, token = stream.url.rpartition("/media/")
    assert origin == "wss://voice.example.com"
    opened = front.door._tickets.read(token)
    assert isinstance(opened, Opened)
    assert opened.ticket == TICKET


@pytest.mark.parametrize(
    ("public_url", "origin"),
    [
        ("http://127.0.0.1:8080", "ws://127.0.0.1:8080"),
        ("https://voice.example.com/", "wss://voice.example.com"),
        ("HTTP://[::1]:8080", "ws://[::1]:8080"),
    ],
)
async def test_the_media_url_follows_the_public_url(public_url: str, origin: str) -> None:
    connect, _ = await post(Front(public_url=public_url), "/voice/incoming", INCOMING)
    assert isinstance(connect, Connect)
    assert connect.stream.url.startswith(f"{origin}/media/")


@pytest.mark.parametrize("public_url", ["", "ws://voice.example.com", "http://voice.example.com", "https://a.test/x"])
def test_a_public_url_that_twilio_cannot_use_is_refused(public_url: str) -> None:
    with pytest.raises(ConfigError, match="public_url is"):
        Front(public_url=public_url)


async def test_an_unknown_number_is_told_so_and_hung_up() -> None:
    front = Front()
    assert await post(front, "/voice/incoming", INCOMING | {"To": "+15550199999"}) == says(twiml.UNKNOWN_NUMBER)
    assert front.refused == [("incoming", "no tenant")]
    assert front.door.calls == 0


@pytest.mark.parametrize("caller", ["anonymous", "+266696687", "client:ann", "sip:ann&bob<1>@example.com", 'a"é'])
async def test_a_caller_of_any_kind_arrives_unchanged(caller: str) -> None:
    front = Front()
    connect, _ = await post(front, "/voice/incoming", INCOMING | {"From": caller})
    assert isinstance(connect, Connect)
    opened = front.door._tickets.read(connect.stream.url.rpartition("/")[2])
    assert isinstance(opened, Opened)
    assert opened.ticket.caller == caller


async def test_a_mistake_of_ours_is_not_heard_as_twilios_application_error() -> None:
    class Broken(dict[str, Any]):
        def get(self, *_: object) -> Any:
            raise ZeroDivisionError

    assert await post(Front(tenants=Broken()), "/voice/incoming", INCOMING) == says(twiml.APOLOGY)


# ── limits ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_burst_of_calls_does_not_get_past_the_limit() -> None:
    front = Front(policy=DoorPolicy(calls_at_once=3))
    answers = [await post(front, "/voice/incoming", call(n)) for n in range(5)]
    assert [type(answer[0]) for answer in answers] == [Connect] * 3 + [Say] * 2
    assert answers[4] == says(twiml.ALL_LINES_BUSY)
    assert front.refused == [("incoming", "too many calls")] * 2


async def test_a_promised_line_is_free_again_when_its_token_has_expired(autojump_clock: MockClock) -> None:
    front = Front(policy=DoorPolicy(calls_at_once=1, token_s=30.0))
    await post(front, "/voice/incoming", call(1))
    autojump_clock.jump(29.9)
    assert await post(front, "/voice/incoming", call(2)) == says(twiml.ALL_LINES_BUSY)
    autojump_clock.jump(0.2)
    assert len(await post(front, "/voice/incoming", call(2))) == 2
    assert front.door.calls == 1


@pytest.mark.parametrize(
    ("path", "fields", "calls"),
    [
        ("/voice/status", {"CallStatus": "completed"}, 0),
        ("/voice/status", {"CallStatus": "no-answer"}, 0),
        ("/voice/status", {"CallStatus": "in-progress"}, 1),
        ("/voice/after", {"CallStatus": "in-progress"}, 0),  # the stream failed
        ("/voice/after", {"CallStatus": "completed"}, 0),
    ],
)
async def test_a_caller_who_never_reached_the_stream_holds_no_line(
    path: str, fields: dict[str, str], calls: int
) -> None:
    front = Front()
    await post(front, "/voice/incoming", call(1))
    await ask(front, path, call(1) | fields)
    assert front.door.calls == calls


async def test_a_webhook_that_twilio_repeats_promises_no_second_line() -> None:
    front = Front(policy=DoorPolicy(calls_at_once=1, calls_a_minute_per_caller=1))
    first, again = [await post(front, "/voice/incoming", INCOMING) for _ in range(2)]
    assert isinstance(first[0], Connect)
    assert isinstance(again[0], Connect)
    assert first[0].stream.url != again[0].stream.url
    assert front.door.calls == 1


async def test_a_caller_who_dials_without_end_is_told_so_and_others_are_not(autojump_clock: MockClock) -> None:
    front = Front(policy=DoorPolicy(calls_a_minute_per_caller=2))
    answers = [await post(front, "/voice/incoming", call(n, From="+15550100001")) for n in range(3)]
    assert [len(answer) for answer in answers] == [2, 2, 2]
    assert answers[2] == says(twiml.TOO_OFTEN)
    assert front.refused == [("incoming", "too many calls of one caller")]
    assert isinstance((await post(front, "/voice/incoming", call(9)))[0], Connect)
    autojump_clock.jump(60.0)
    assert isinstance((await post(front, "/voice/incoming", call(4, From="+15550100001")))[0], Connect)


# ── signatures ────────────────────────────────────────────────────────────────────────────────────────────────────────


def sign(path: str, form: Mapping[str, str], *, token: str = AUTH_TOKEN, origin: str = PUBLIC_URL) -> dict[str, str]:
    return {"X-Twilio-Signature": signature(token, origin + path, form.items())}


@pytest.mark.parametrize("path", PATHS)
async def test_what_twilio_signed_is_served(path: str) -> None:
    form = INCOMING | {"StreamSid": "MZ1", "StreamEvent": "stream-started"}
    front = Front(auth_tokens=("secret",))
    status, _ = await ask(front, path, form, headers=sign(path, form))
    assert status in {200, 204}
    assert front.refused == []


@pytest.mark.parametrize(("path", "door"), list(zip(PATHS, DOORS, strict=True)))
@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({}, "signature missing"),
        ({"X-Twilio-Signature": "AAAAAAAAAAAAAAAAAAAAAAAAAAA="}, "signature wrong"),
        ({"X-Twilio-Signature": ""}, "signature missing"),
        ({"X-Forwarded-Host": "voice.example.com"}, "signature missing"),
    ],
)
async def test_what_twilio_did_not_sign_is_turned_away_before_anything_happens(
    path: str, door: str, headers: dict[str, str], why: str
) -> None:
    front = Front(auth_tokens=("secret",))
    with structlog.testing.capture_logs() as logs:
        assert (await ask(front, path, headers=headers))[0] == 403
    assert front.refused == [(door, why)]
    assert (front.door.calls, front.counted, front.reports) == (0, [], [])
    assert [(entry["event"], entry["door"], entry["why"]) for entry in logs] == [("request_refused", door, why)]


async def test_a_signature_is_for_one_path_one_form_one_query_and_one_host() -> None:
    front = Front(auth_tokens=("secret",))
    good = sign("/voice/incoming", INCOMING)
    assert (await ask(front, "/voice/incoming", INCOMING, headers=good))[0] == 200
    assert (await ask(front, "/voice/after", INCOMING, headers=good))[0] == 403
    assert (await ask(front, "/voice/incoming?x=1", INCOMING, headers=good))[0] == 403
    assert (await ask(front, "/voice/incoming", INCOMING | {"From": "+15550199999"}, headers=good))[0] == 403
    assert (await ask(front, "/voice/incoming", INCOMING | {"More": ""}, headers=good))[0] == 403
    elsewhere = sign("/voice/incoming", INCOMING, origin="https://staging.example.com")
    assert (await ask(front, "/voice/incoming", INCOMING, headers=elsewhere))[0] == 403
    with_query = sign("/voice/incoming?x=%20a", INCOMING)
    assert (await ask(front, "/voice/incoming?x=%20a", INCOMING, headers=with_query))[0] == 200


async def test_while_a_token_is_replaced_both_are_good() -> None:
    front = Front(auth_tokens=("new", "old"))
    for token, status in (("new", 200), ("old", 200), ("older", 403)):
        headers = sign("/voice/incoming", INCOMING, token=token)
        assert (await ask(front, "/voice/incoming", INCOMING, headers=headers))[0] == status


@pytest.mark.parametrize(("peer", "status"), [("10.0.0.1", 200), ("203.0.113.5", 403)])
async def test_a_trusted_proxy_says_which_address_was_signed(peer: str, status: int) -> None:
    front = Front(auth_tokens=("secret",), policy=DoorPolicy(trusted_proxies=("10.0.0.0/8",)))
    headers = sign("/voice/incoming", INCOMING, origin="https://other.example.com")
    headers |= {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "other.example.com", "X-Forwarded-For": "192.0.2.7"}
    with structlog.testing.capture_logs() as logs:
        answer = await ask(front, "/voice/incoming", headers=headers, scope_base={"client": (peer, 5)})
    assert answer[0] == status
    refusals = [entry["client"] for entry in logs if entry["event"] == "request_refused"]
    assert refusals == ([] if status == 200 else ["203.0.113.5"])


async def test_no_log_shows_a_signature_a_token_or_a_callers_number() -> None:
    front = Front(auth_tokens=("secret-token",), policy=DoorPolicy(calls_at_once=1))
    value = sign("/voice/incoming", INCOMING, token="secret-token")
    with structlog.testing.capture_logs() as logs:
        connect = parse((await ask(front, "/voice/incoming", headers=value))[1]).verbs[0]
        await ask(front, "/voice/incoming", headers=value | sign("/", {}))
        other = call(2, From="+15550100001")
        await ask(front, "/voice/incoming", other, headers=sign("/voice/incoming", other, token="secret-token"))
        await ask(front, "/voice/incoming", other | {"From": "+15550100001\0"})
    assert isinstance(connect, Connect)
    assert len(logs) == 4
    for secret in ("secret-token", *value.values(), connect.stream.url.rpartition("/")[2], "+15550100001"):
        assert secret not in str(logs)


# ── bad forms ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"CallSid": ""}, "form field CallSid is missing"),
        ({"To": ""}, "form field To is missing"),
        ({"From": ""}, "form field From is missing"),
        ({"CallSid": "CA123"}, "form field CallSid is 'CA123'; expected 'CA' and 32 hexadecimal digits"),
        ({"CallSid": CALL_SID + "\n"}, "expected printable UTF-8"),
        ({"From": "a\x00b"}, "form field From is 'a\\x00b'; expected printable UTF-8"),
        ({"From": "x" * 257}, "form field From has 257 characters; at most 256 are allowed"),
    ],
)
async def test_a_garbled_form_is_refused_in_words(change: dict[str, str], why: str) -> None:
    front = Front()
    response = await front.app.test_client().post("/voice/incoming", form=INCOMING | change)
    assert response.status_code == 400
    assert response.content_type == "text/plain; charset=utf-8"
    assert why in await response.get_data(as_text=True)
    assert front.refused == [("incoming", "form malformed")]


@pytest.mark.parametrize(
    ("body", "content_type", "why"),
    [
        (b"", "application/x-www-form-urlencoded", "form field CallSid is missing"),
        (b'{"CallSid": 1}', "application/json", "form field CallSid is missing"),
        (f"CallSid={CALL_SID}&To=%ff&From=x".encode(), "application/x-www-form-urlencoded", "expected printable UTF-8"),
        (f"CallSid={CALL_SID}&To=1&To=2&From=x".encode(), "application/x-www-form-urlencoded", "To is there 2 times"),
        (b"CallSid=\xff\xfe", "application/x-www-form-urlencoded", "form field CallSid is missing"),
        (b"--x\r\n", "multipart/form-data; boundary=x", "form field CallSid is missing"),
    ],
)
async def test_a_body_that_is_no_form_is_refused_in_words(body: bytes, content_type: str, why: str) -> None:
    client = Front().app.test_client()
    response = await client.post("/voice/incoming", data=body, headers={"Content-Type": content_type})
    assert response.status_code == 400
    assert why in await response.get_data(as_text=True)


async def test_a_longest_caller_is_taken() -> None:
    connect, _ = await post(Front(), "/voice/incoming", INCOMING | {"From": "é" * 256})
    assert isinstance(connect, Connect)
    assert len(connect.stream.url) < 16 * 1024


async def test_a_huge_form_is_refused() -> None:
    front = Front()
    assert (await ask(front, "/voice/incoming", INCOMING | {"CallToken": "x" * 70_000}))[0] == 413
    assert front.refused == [("incoming", "form too long")]


# ── after the stream ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_after_a_call_that_ended_as_it_should_the_line_is_hung_up() -> None:
    front = Front(steps={CALL_SID: NextStep(kind="hangup")})
    assert await post(front, "/voice/after", AFTER) == (Hangup(),)


async def test_the_engine_may_have_the_last_word_said_for_it() -> None:
    front = Front(steps={CALL_SID: NextStep(kind="hangup", say="We open at nine & close at <five>.")})
    assert await post(front, "/voice/after", AFTER) == says("We open at nine & close at <five>.")


@pytest.mark.parametrize("say", ["", "One moment, please."])
async def test_a_transfer_rings_a_person_and_asks_here_again(say: str) -> None:
    front = Front(steps={CALL_SID: NextStep(kind="transfer", say=say, number="+15550100008")})
    *before, dial = await post(front, "/voice/after", AFTER)
    assert before == ([Say(text=say, loop=1)] if say else [])
    assert dial == Dial(number="+15550100008", action=f"{PUBLIC_URL}/voice/after", method="POST", timeout_s=30)


@pytest.mark.parametrize(
    ("caller", "dialled", "shown"),
    [
        ("+15550100001", "+15550100002", None),
        ("client:ann", "+15550100002", "+15550100002"),
        ("anonymous", "+15550100002", "+15550100002"),
        ("sip:ann@example.com", "sip:us@example.com", None),
    ],
)
async def test_who_is_rung_sees_the_caller_or_else_the_number_that_was_dialled(
    caller: str, dialled: str, shown: str | None
) -> None:
    front = Front(steps={CALL_SID: NextStep(kind="transfer", number="+15550100008")})
    _, document = await ask(front, "/voice/after", AFTER | {"From": caller, "To": dialled})
    assert (f'callerId="{shown}"' in document) == (shown is not None)
    assert ("callerId" in document) == (shown is not None)


@pytest.mark.parametrize(
    ("rung", "told"),
    [
        ("completed", (Hangup(),)),
        ("answered", (Hangup(),)),
        ("busy", says(twiml.NOBODY_ANSWERS)),
        ("no-answer", says(twiml.NOBODY_ANSWERS)),
        ("failed", says(twiml.NOBODY_ANSWERS)),
        ("canceled", says(twiml.NOBODY_ANSWERS)),
        ("of tomorrow", says(twiml.NOBODY_ANSWERS)),
    ],
)
async def test_after_a_transfer_who_spoke_with_somebody_hears_no_more(rung: str, told: tuple[Verb, ...]) -> None:
    front = Front(steps={CALL_SID: NextStep(kind="transfer", number="+15550100008")})
    assert await post(front, "/voice/after", AFTER | {"DialCallStatus": rung}) == told


async def test_after_a_call_that_broke_off_the_caller_is_connected_with_a_person() -> None:
    say, dial = await post(Front(), "/voice/after", AFTER)
    assert say == Say(text=twiml.APOLOGY_AND_TRANSFER, loop=1)
    assert isinstance(dial, Dial)
    assert dial.number == "+15550100009"


@pytest.mark.parametrize("dialled", [{"To": "+15550100003"}, {"To": "+15550199999"}, {"To": ""}, {"To": "\ufffd"}])
async def test_where_nobody_can_be_rung_the_caller_gets_an_apology(dialled: dict[str, str]) -> None:
    assert await post(Front(), "/voice/after", AFTER | dialled) == says(twiml.APOLOGY)


async def test_after_knows_a_call_by_its_sid_alone() -> None:
    assert await post(Front(), "/voice/after", {"CallSid": CALL_SID}) == says(twiml.APOLOGY)
    assert await ask(Front(), "/voice/after", {}) == (400, "form field CallSid is missing\n")


@pytest.mark.parametrize("fails", [ConfigError("the database is locked"), EngineBug("x")])
async def test_a_store_that_fails_costs_no_caller_the_sentence(fails: Exception) -> None:
    front = Front(fails=fails, steps={CALL_SID: NextStep(kind="hangup")})
    with structlog.testing.capture_logs() as logs:
        say, _ = await post(front, "/voice/after", AFTER)
    assert say == Say(text=twiml.APOLOGY_AND_TRANSFER, loop=1)
    assert [entry["event"] for entry in logs] == ["next_step_unknown", "call_after"]


async def test_a_caller_who_has_hung_up_is_not_rung_for() -> None:
    front = Front(fails=EngineBug("nobody should ask"))
    for status in ("completed", "canceled", "failed", "busy", "no-answer"):
        assert await post(front, "/voice/after", AFTER | {"CallStatus": status}) == (Hangup(),)


@given(st.text(st.characters(), max_size=50))
def test_whatever_is_said_is_well_formed(say: str) -> None:
    step = NextStep(kind="transfer", say=say, number="+15550100008")
    for document in (twiml.goodbye(say), twiml.transfer(step, action=PUBLIC_URL, caller_id=None)):
        *before, _ = parse(str(document).encode()).verbs
        said = [verb.text for verb in before if isinstance(verb, Say)]
        if say.isprintable():
            assert said == ([" ".join(say.split())] if say.strip() else [])


# ── what Twilio reports ───────────────────────────────────────────────────────────────────────────────────────────────

COMPLETED = {
    "CallSid": CALL_SID,
    "CallStatus": "completed",
    "CallDuration": "61",
    "Duration": "2",
    "SequenceNumber": "3",
    "Timestamp": "Sat, 21 Nov 2026 02:00:00 +0000",
    "CallbackSource": "call-progress-events",
}
STREAM_ERROR = {
    "CallSid": CALL_SID,
    "StreamSid": "MZ" + "2" * 32,
    "StreamName": "MZ" + "2" * 32,
    "StreamEvent": "stream-error",
    "StreamError": "31920",
    "Timestamp": "2026-11-21T02:00:00.123Z",
}


async def test_a_calls_status_is_written_down_and_counted() -> None:
    front = Front()
    assert await ask(front, "/voice/status", COMPLETED) == (204, "")
    at = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
    expected = CallReported(call_sid=CALL_SID, sequence=3, status="completed", at=at, duration_s=61, sip_code="")
    assert front.reports == [expected]
    assert front.counted == ["call_completed"]


async def test_a_streams_status_is_written_down_and_counted() -> None:
    front = Front()
    assert await ask(front, "/voice/stream-status", STREAM_ERROR) == (204, "")
    (report,) = front.reports
    assert isinstance(report, StreamReported)
    assert (report.stream_sid, report.event, report.error) == ("MZ" + "2" * 32, "stream-error", "31920")
    assert report.at == datetime(2026, 11, 21, 2, 0, 0, 123000, tzinfo=UTC)
    assert front.counted == ["stream_error"]


@pytest.mark.parametrize(
    ("path", "form", "counted"),
    [
        ("/voice/status", {"CallSid": CALL_SID, "CallStatus": "no-answer", "SequenceNumber": "x"}, "call_no_answer"),
        ("/voice/status", {"CallSid": CALL_SID, "CallStatus": "of tomorrow", "Timestamp": "soon"}, "call_other"),
        ("/voice/stream-status", STREAM_ERROR | {"StreamEvent": "of tomorrow", "Timestamp": ""}, "stream_other"),
    ],
)
async def test_a_report_that_says_less_is_written_down_too(path: str, form: dict[str, str], counted: str) -> None:
    front = Front()
    assert await ask(front, path, form) == (204, "")
    assert front.reports[0].at is None
    assert front.counted == [counted]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-21T02:00:00Z", datetime(2026, 11, 21, 2, tzinfo=UTC)),
        ("2026-11-21T02:00:00+02:00", datetime(2026, 11, 21, 0, tzinfo=UTC)),
        ("Sat, 21 Nov 2026 02:00:00 -0000", datetime(2026, 11, 21, 2, tzinfo=UTC)),
        ("Sat, 21 Nov 2026 02:00:00 +0100", datetime(2026, 11, 21, 1, tzinfo=UTC)),
        ("yesterday", None),
        ("", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("Sat, 21 Nov 99999 02:00:00 +0000", None),
    ],
)
def test_a_moment_is_read_as_twilio_writes_it(text: str, moment: datetime | None) -> None:
    assert _moment(text) == moment


@given(st.text(max_size=40))
def test_no_moment_raises(text: str) -> None:
    _moment(text)


@pytest.mark.parametrize(("path", "form"), [("/voice/status", COMPLETED), ("/voice/stream-status", STREAM_ERROR)])
async def test_a_report_that_could_not_be_written_down_may_come_again(path: str, form: dict[str, str]) -> None:
    front = Front(fails=ConfigError("the database is locked"))
    with structlog.testing.capture_logs():
        assert (await ask(front, path, form))[0] == 503


@pytest.mark.parametrize(
    ("path", "form", "why"),
    [
        ("/voice/status", {"CallSid": CALL_SID}, "form field CallStatus is missing"),
        ("/voice/stream-status", {"CallSid": CALL_SID, "StreamEvent": "x"}, "form field StreamSid is missing"),
        ("/voice/stream-status", {"CallSid": CALL_SID, "StreamSid": "x"}, "form field StreamEvent is missing"),
    ],
)
async def test_a_report_of_nothing_is_refused_in_words(path: str, form: dict[str, str], why: str) -> None:
    assert await ask(Front(), path, form) == (400, why + "\n")


# ── health ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_health_is_a_plain_ok() -> None:
    response = await Front().app.test_client().get("/healthz")
    assert response.status_code == 200
    body = await response.get_json()
    assert body["status"] == "ok"
    assert body["up_s"] >= 0


async def test_readiness_says_why_not() -> None:
    why: list[str | None] = ["loading the voices", None, None]
    front = Front(ready=lambda: why[0])
    assert await get(front, "/readyz") == (503, "loading the voices\n")
    del why[0]
    assert await get(front, "/readyz") == (200, "ready\n")
    front.door.drain()
    assert await get(front, "/readyz") == (503, "draining\n")
    assert (await get(front, "/healthz"))[0] == 200


async def test_metrics_are_told_to_the_neighbourhood_alone() -> None:
    front = Front(policy=DoorPolicy(trusted_proxies=("10.0.0.0/8",)))
    assert await get(front, "/metrics") == (200, "calls 3\n")
    assert await get(front, "/metrics", peer="10.1.2.3") == (200, "calls 3\n")
    assert (await get(front, "/metrics", peer="203.0.113.5"))[0] == 403
    assert (await get(front, "/metrics", x_forwarded_for="203.0.113.5"))[0] == 403
    assert front.refused == [("metrics", "not local")] * 2
    response = await front.app.test_client().get("/metrics", scope_base={"client": ("127.0.0.1", 5)})
    assert response.content_type == "text/plain; version=1.0.0; charset=utf-8"


# ── draining ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_draining_door_turns_new_calls_away_and_serves_those_that_are_here() -> None:
    front = Front(steps={CALL_SID: NextStep(kind="hangup", say="Goodbye.")})
    await post(front, "/voice/incoming", INCOMING)
    front.door.drain()
    assert await post(front, "/voice/incoming", call(2)) == says(twiml.DRAINING)
    assert front.refused == [("incoming", "draining")]
    assert front.door.calls == 1
    assert await post(front, "/voice/after", AFTER) == says("Goodbye.")
    assert (await ask(front, "/voice/status", COMPLETED))[0] == 204
    assert (await ask(front, "/voice/stream-status", STREAM_ERROR))[0] == 204


def test_nothing_runs_in_the_apps_own_nursery_where_a_crash_would_only_be_logged() -> None:
    app = Front().app
    assert (app.before_serving_funcs, app.after_serving_funcs, app.while_serving_gens) == ([], [], [])


def test_a_media_path_of_these_tests_is_one_of_the_doors() -> None:
    assert isinstance(Front().door._tickets.read(media_path().rpartition("/")[2]), Opened)

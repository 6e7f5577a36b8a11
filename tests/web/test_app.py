import xml.etree.ElementTree as ET
from collections.abc import Mapping

import pytest
from quart_trio import QuartTrio
from werkzeug.datastructures import MultiDict

from engine.messages.errors import ConfigError
from web.app import TenantChoice, create_app

CALL_SID = "CA" + "1" * 32

# Every field that Twilio documents for an incoming call, and one that it may add tomorrow.
INCOMING = {
    "CallSid": CALL_SID,
    "AccountSid": "AC" + "0" * 32,
    "From": "+15550100001",
    "To": "+15550100002",
    "Caller": "+15550100001",
    "Called": "+15550100002",
    "CallStatus": "ringing",
    "Direction": "inbound",
    "ApiVersion": "2010-04-01",
    "ForwardedFrom": "+15550100003",
    "CallerName": "ANN O'HARA",
    "CallToken": "%7B%22parentCallInfoToken%22%7D",
    "StirVerstat": "TN-Validation-Passed-A",
    "FromCity": "",
    "FromState": "CA",
    "FromZip": "94105",
    "FromCountry": "US",
    "ToCity": "",
    "AFieldOfTomorrow": "é",
}


def make_app(public_url: str = "https://voice.example.com") -> QuartTrio:
    tenants = {"+15550100002": TenantChoice(name="clinic")}
    endings = {CALL_SID: "the agent said goodbye"}
    return create_app(public_url=public_url, choose=tenants.get, ended=endings.get)


async def post(app: QuartTrio, path: str, form: Mapping[str, str] | MultiDict[str, str]) -> ET.Element:
    response = await app.test_client().post(path, form=form)
    assert response.status_code == 200
    assert response.content_type == "text/xml; charset=utf-8"
    return ET.fromstring(await response.get_data(as_text=False))  # noqa: S314 - our own answer


async def test_an_incoming_call_is_connected_to_the_media_socket_of_its_tenant() -> None:
    root = await post(make_app(), "/voice/incoming", INCOMING)
    assert root.tag == "Response"
    assert [verb.tag for verb in root] == ["Connect", "Hangup"]
    connect = root[0]
    assert connect.attrib == {"action": "https://voice.example.com/voice/after", "method": "POST"}
    assert [noun.tag for noun in connect] == ["Stream"]
    stream = connect[0]
    assert stream.attrib == {"url": "wss://voice.example.com/media"}
    assert [(noun.tag, noun.attrib["name"], noun.attrib["value"]) for noun in stream] == [
        ("Parameter", "tenant", "clinic"),
        ("Parameter", "caller", "+15550100001"),
        ("Parameter", "dialled", "+15550100002"),
    ]


@pytest.mark.parametrize(
    ("public_url", "media_url"),
    [
        ("http://127.0.0.1:8080", "ws://127.0.0.1:8080/media"),
        ("https://voice.example.com/", "wss://voice.example.com/media"),
        ("https://example.com/phone", "wss://example.com/phone/media"),
        ("HTTP://[::1]:8080", "ws://[::1]:8080/media"),
    ],
)
async def test_the_media_url_follows_the_public_url(public_url: str, media_url: str) -> None:
    root = await post(make_app(public_url), "/voice/incoming", INCOMING)
    assert [stream.attrib["url"] for stream in root.iter("Stream")] == [media_url]


@pytest.mark.parametrize(
    "public_url", ["", "voice.example.com", "ws://voice.example.com", "https://", "https://voice.example.com?x=1"]
)
def test_a_public_url_that_is_not_http_is_refused(public_url: str) -> None:
    with pytest.raises(ConfigError, match="public_url is"):
        make_app(public_url)


async def test_an_unknown_number_is_told_so_and_hung_up() -> None:
    root = await post(make_app(), "/voice/incoming", INCOMING | {"To": "+15550199999"})
    assert [verb.tag for verb in root] == ["Say", "Hangup"]
    assert "not in service" in (root[0].text or "")


@pytest.mark.parametrize("caller", ["anonymous", "+266696687", "client:ann", "sip:ann&bob<1>@example.com", 'a"é'])
async def test_a_caller_of_any_kind_arrives_unchanged(caller: str) -> None:
    root = await post(make_app(), "/voice/incoming", INCOMING | {"From": caller})
    parameters = {noun.attrib["name"]: noun.attrib["value"] for noun in root.iter("Parameter")}
    assert parameters["caller"] == caller


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
    response = await make_app().test_client().post("/voice/incoming", form=INCOMING | change)
    assert response.status_code == 400
    assert response.content_type == "text/plain; charset=utf-8"
    assert why in await response.get_data(as_text=True)


@pytest.mark.parametrize(
    ("body", "content_type", "why"),
    [
        (b"", "application/x-www-form-urlencoded", "form field CallSid is missing"),
        (b'{"CallSid": 1}', "application/json", "form field CallSid is missing"),
        (f"CallSid={CALL_SID}&To=%ff&From=x".encode(), "application/x-www-form-urlencoded", "expected printable UTF-8"),
        (f"CallSid={CALL_SID}&To=1&To=2&From=x".encode(), "application/x-www-form-urlencoded", "To is there 2 times"),
    ],
)
async def test_a_body_that_is_no_form_is_refused_in_words(body: bytes, content_type: str, why: str) -> None:
    client = make_app().test_client()
    response = await client.post("/voice/incoming", data=body, headers={"Content-Type": content_type})
    assert response.status_code == 400
    assert why in await response.get_data(as_text=True)


async def test_a_longest_caller_is_taken() -> None:
    root = await post(make_app(), "/voice/incoming", INCOMING | {"From": "x" * 256})
    assert [verb.tag for verb in root] == ["Connect", "Hangup"]


async def test_a_huge_form_is_refused() -> None:
    response = await make_app().test_client().post("/voice/incoming", form=INCOMING | {"CallToken": "x" * 70_000})
    assert response.status_code == 413


async def test_after_a_call_that_ended_as_it_should_the_line_is_hung_up() -> None:
    root = await post(make_app(), "/voice/after", INCOMING | {"CallStatus": "in-progress"})
    assert [verb.tag for verb in root] == ["Hangup"]


async def test_after_a_call_that_broke_off_the_caller_gets_an_apology() -> None:
    root = await post(make_app(), "/voice/after", INCOMING | {"CallSid": "CA" + "2" * 32})
    assert [verb.tag for verb in root] == ["Say", "Hangup"]
    assert "sorry" in (root[0].text or "")


async def test_after_without_a_call_is_refused_in_words() -> None:
    response = await make_app().test_client().post("/voice/after", form={})
    assert response.status_code == 400
    assert await response.get_data(as_text=True) == "form field CallSid is missing\n"


async def test_health_is_a_plain_ok() -> None:
    response = await make_app().test_client().get("/healthz")
    assert response.status_code == 200
    body = await response.get_json()
    assert body["status"] == "ok"
    assert body["up_s"] >= 0

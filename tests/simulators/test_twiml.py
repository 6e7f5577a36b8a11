"""TwiML, read as strictly as Twilio reads it."""

import pytest

from simulators.twilio import twiml
from simulators.twilio.codes import Code

STREAM = '<Stream url="wss://a.test/media"/>'


def _inside(verbs: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Response>\n  {verbs}\n</Response>'


def _connect(stream: str) -> str:
    return _inside(f"<Connect>{stream}</Connect>")


@pytest.mark.parametrize(
    ("verbs", "expected"),
    [
        ("", ()),
        ('<Say voice="alice" language="en">Hello  <b>you</b></Say>', (twiml.Say(text="Hello you", loop=1),)),
        ('<Say loop="0">a</Say>', (twiml.Say(text="a", loop=0),)),
        ("<Play> https://a.test/b.wav </Play>", (twiml.Play(url="https://a.test/b.wav", digits="", loop=1),)),
        ('<Play digits="1w2"/>', (twiml.Play(url="", digits="1w2", loop=1),)),
        ("<Pause/>", (twiml.Pause(length_s=1),)),
        ('<Pause length="40"/><Hangup/>', (twiml.Pause(length_s=40), twiml.Hangup())),
        ("<Redirect>/again?x=1&amp;y=2</Redirect>", (twiml.Redirect(url="/again?x=1&y=2", method="POST"),)),
        (
            '<Dial action="/d" method="GET" timeout="9">+1555</Dial>',
            (twiml.Dial(number="+1555", action="/d", method="GET", timeout_s=9),),
        ),
        (
            "<Dial><Number>+1555</Number></Dial>",
            (twiml.Dial(number="+1555", action=None, method="POST", timeout_s=30),),
        ),
        ("<Reject/>", (twiml.Reject(reason="rejected"),)),
        ('<Reject reason="busy"/>', (twiml.Reject(reason="busy"),)),
        (
            (
                '<Connect action="/after"><Stream url="wss://a.test/media?q=1" name="agent" track="inbound_track" '
                'statusCallback="https://a.test/s" statusCallbackMethod="GET">'
                '<Parameter name="a" value="1"/><Parameter name="b" value=""/></Stream></Connect>'
            ),
            (
                twiml.Connect(
                    stream=twiml.Stream(
                        url="wss://a.test/media?q=1",
                        name="agent",
                        status_callback="https://a.test/s",
                        status_callback_method="GET",
                        parameters={"a": "1", "b": ""},
                    ),
                    action="/after",
                    method="POST",
                ),
            ),
        ),
    ],
)
def test_a_sound_document_says_what_to_do(verbs: str, expected: tuple[twiml.Verb, ...]) -> None:
    assert twiml.parse(_inside(verbs)) == twiml.Document(verbs=expected, warnings=())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not well-formed"),
        ("hello", "not well-formed"),
        (_inside("<Redirect>/a?x=1&y=2</Redirect>"), "not well-formed"),
        ("<response/>", "the root is <response>"),
        ('<Response xmlns="urn:x"/>', "the root is <{urn:x}Response>"),
        (_inside("<say>hello</say>"), "unknown verb <say>"),
        (_inside("<Gather/>"), "unknown verb <Gather>"),
        (_inside("<Stream/>"), "unknown verb <Stream>"),
        (_inside("hello"), "the text 'hello'"),
        (_inside("<Hangup/>hello"), "the text 'hello' stands after <Hangup>"),
        (_inside("<Hangup>now</Hangup>"), "<Hangup> holds the text 'now'"),
        (_inside("<Pause><Say>a</Say></Pause>"), "<Pause> holds <Say>"),
        (_inside("<Redirect/>"), "<Redirect> has no URL"),
        (_inside("<Play/>"), "<Play> takes a URL or digits"),
        (_inside('<Play digits="1">https://a.test/b.wav</Play>'), "<Play> takes a URL or digits"),
        (_inside("<Dial/>"), "<Dial> has 0 numbers"),
        (_inside("<Dial>+1<Number>+2</Number></Dial>"), "<Dial> has 2 numbers"),
        (_inside("<Dial><Sip>sip:a@b</Sip></Dial>"), "<Dial> with <Sip>"),
        (_inside("<Say>a</Say><Reject/>"), "<Reject> stands after another verb"),
        (_connect(""), "<Connect> holds nothing"),
        (_connect("<Room>x</Room>"), "<Connect> holds <Room>"),
        (_connect(STREAM + STREAM), "<Connect> holds <Stream>, <Stream>"),
        (_connect("<Stream/>"), "<Stream> has no url"),
        (_connect('<Stream URL="wss://a.test"/>'), "<Stream> has no url"),
        (_connect('<Stream url="wss://a.test"><parameter name="a" value="b"/></Stream>'), "<Stream> holds <parameter>"),
        (_connect('<Stream url="wss://a.test"><Parameter name="a"/></Stream>'), "<Parameter> needs a name and a value"),
        (_connect('<Stream url="wss://a.test"><Parameter value="a"/></Stream>'), "<Parameter> needs a name"),
        (
            _connect(f'<Stream url="wss://a.test"><Parameter name="a" value="{"x" * 499}"/></Stream>'),
            "500 characters; name and value together must stay below 500",
        ),
    ],
)
def test_a_document_that_twilio_would_refuse_fails(text: str, why: str) -> None:
    with pytest.raises(twiml.TwimlError) as caught:
        twiml.parse(text)
    assert caught.value.code is Code.DOCUMENT_FAILURE
    assert why in str(caught.value)


def test_a_parameter_of_499_characters_passes() -> None:
    document = twiml.parse(_connect(f'<Stream url="wss://a.test"><Parameter name="a" value="{"x" * 498}"/></Stream>'))
    assert isinstance(document.verbs[0], twiml.Connect)
    assert document.verbs[0].stream.parameters == {"a": "x" * 498}


@pytest.mark.parametrize(
    ("verb", "expected", "warning"),
    [
        ('<Pause Length="3"/>', twiml.Pause(length_s=1), "<Pause> has no attribute 'Length': ignored"),
        ('<Pause length="long"/>', twiml.Pause(length_s=1), "<Pause length='long'> is not allowed: ignored"),
        ('<Pause length="-1"/>', twiml.Pause(length_s=1), "<Pause length='-1'> is not allowed: ignored"),
        ('<Say loop="²">a</Say>', twiml.Say(text="a", loop=1), "<Say loop='²'> is not allowed: ignored"),
        (
            '<Reject reason="tired"/>',
            twiml.Reject(reason="rejected"),
            "<Reject reason='tired'> is not allowed: ignored",
        ),
        (
            '<Redirect method="PUT">/a</Redirect>',
            twiml.Redirect(url="/a", method="POST"),
            "<Redirect method='PUT'> is not allowed: ignored",
        ),
        (
            '<Connect><Stream url="wss://a.test" track="both_tracks"/></Connect>',
            twiml.Connect(
                stream=twiml.Stream(
                    url="wss://a.test", name=None, status_callback=None, status_callback_method="POST", parameters={}
                ),
                action=None,
                method="POST",
            ),
            "<Stream track='both_tracks'> is not allowed: ignored",
        ),
    ],
)
def test_an_attribute_that_cannot_be_is_ignored_with_a_warning(verb: str, expected: twiml.Verb, warning: str) -> None:
    assert twiml.parse(_inside(verb)) == twiml.Document(verbs=(expected,), warnings=(warning,))

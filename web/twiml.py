"""What the phone network is told to do with a call, and what callers hear from its own voice."""

import re
from typing import Final

from twilio.twiml.voice_response import Connect, VoiceResponse

from engine.messages.admission import NextStep

UNKNOWN_NUMBER: Final = "We are sorry, the number you have dialled is not in service. Goodbye."
ALL_LINES_BUSY: Final = "We are sorry, all our lines are busy. Please call again in a few minutes. Goodbye."
TOO_OFTEN: Final = "We are sorry, you have called too often. Please call again in a few minutes. Goodbye."
DRAINING: Final = "We are sorry, we cannot take your call just now. Please call again in a minute. Goodbye."
APOLOGY: Final = "We are sorry, we were cut off. Please call again."
APOLOGY_AND_TRANSFER: Final = "We are sorry, we were cut off. One moment, please, you will be connected."
NOBODY_ANSWERS: Final = "We are sorry, nobody can take your call at the moment. Please call again later. Goodbye."

# Six rings; Twilio's own default, said here so that it stays.
RING_S: Final = 30

# XML has no way to write them; a sentence of a model's may have them.
_UNWRITABLE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def stream(*, url: str, action: str, status_callback: str) -> VoiceResponse:
    """Connect the call to the media stream at `url`; when that ends, `action` is asked what comes next."""
    twiml = VoiceResponse()
    connect = Connect(action=action, method="POST")
    connect.stream(url=url, status_callback=status_callback, status_callback_method="POST")
    twiml.append(connect)
    # Twilio does not say whether it asks the action of a stream that never opened, or goes on here.
    twiml.redirect(action, method="POST")
    return twiml


def goodbye(say: str = "") -> VoiceResponse:
    """Say a sentence, if there is one, and hang up."""
    twiml = _say(say)
    twiml.hangup()
    return twiml


def transfer(step: NextStep, *, action: str, caller_id: str | None) -> VoiceResponse:
    """Say the step's sentence, if there is one, and ring its number; `action` is told what came of it.

    caller_id: the number that the person who is rung sees; None: the caller's own.
    """
    twiml = _say(step.say)
    twiml.dial(step.number, timeout=RING_S, caller_id=caller_id, action=action, method="POST")
    return twiml


def _say(text: str) -> VoiceResponse:
    twiml = VoiceResponse()
    if writable := _UNWRITABLE.sub("", text).strip():
        twiml.say(writable)
    return twiml

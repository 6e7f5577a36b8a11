"""The web app: Twilio's voice webhooks, answered with TwiML, and health."""

import re
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import attrs
import structlog
from quart import Response, request
from quart_trio import QuartTrio
from twilio.twiml.voice_response import Connect, VoiceResponse
from werkzeug.datastructures import MultiDict

from engine.messages.errors import ConfigError
from web.media import MEDIA_PATH

# Twilio's own forms are under 2 KiB, and come in one piece.
FORM_MAX_BYTES = 64 * 1024
FORM_MAX_S = 5

# A <Parameter>'s name and value together stay under 500 characters; a SIP address is the longest caller there is.
FIELD_MAX_CHARS = 256

REFUSAL = "We are sorry, the number you have dialled is not in service. Goodbye."
APOLOGY = "We are sorry, we were cut off. Please call again."

# What a decoder puts in the place of bytes that are not UTF-8.
_UNREADABLE = "\ufffd"

log = structlog.get_logger()


@attrs.frozen
class TenantChoice:
    """The business that a dialled number belongs to, by the name of its configuration."""

    name: str


def create_app(
    *, public_url: str, choose: Callable[[str], TenantChoice | None], ended: Callable[[str], str | None]
) -> QuartTrio:
    """The webhooks and health, as a Quart app; the media WebSocket goes beside it (`web.media.beside`).

    public_url: what Twilio sees, http or https; a ws or wss address of the media WebSocket is made from it.
    choose: the tenant of a dialled number, the default one included; None: the caller is told that there is none.
    ended: why the engine ended the call of a SID, such as "the agent said goodbye"; None when it did not: the call
        crashed, or is not known here (this process is younger than the call). The caller then gets an apology.

    Raises ConfigError when `public_url` is of another kind.
    """
    public_url = public_url.rstrip("/")
    media_url = _media_url(public_url)
    started_at = time.monotonic()

    app = QuartTrio("web")
    app.config["MAX_CONTENT_LENGTH"] = FORM_MAX_BYTES
    app.config["BODY_TIMEOUT"] = FORM_MAX_S

    @app.post("/voice/incoming")
    async def incoming() -> Response:
        form = await request.form
        call_sid, dialled, caller = _call_sid(form), _field(form, "To"), _field(form, "From")
        twiml = VoiceResponse()
        tenant = choose(dialled)
        if tenant is None:
            # <Reject> would cost nothing, and leave the caller with a busy tone, calling again. Words end it.
            log.warning("call_refused", call_sid=call_sid, dialled=dialled, why="no tenant has this number")
            twiml.say(REFUSAL)
            twiml.hangup()
            return _xml(twiml)
        log.info("call_incoming", call_sid=call_sid, dialled=dialled, tenant=tenant.name)
        connect = Connect(action=f"{public_url}/voice/after", method="POST")
        stream = connect.stream(url=media_url)
        stream.parameter(name="tenant", value=tenant.name)
        stream.parameter(name="caller", value=caller)
        stream.parameter(name="dialled", value=dialled)
        twiml.append(connect)
        twiml.hangup()
        return _xml(twiml)

    @app.post("/voice/after")
    async def after() -> Response:
        call_sid = _call_sid(await request.form)
        reason = ended(call_sid)
        log.info("call_after", call_sid=call_sid, reason=reason)
        twiml = VoiceResponse()
        if reason is None:
            twiml.say(APOLOGY)
        twiml.hangup()
        return _xml(twiml)

    @app.get("/healthz")
    async def healthz() -> dict[str, str | float]:
        return {"status": "ok", "up_s": round(time.monotonic() - started_at, 1)}

    @app.errorhandler(_BadForm)
    async def bad_form(error: _BadForm) -> Response:
        log.warning("request_refused", path=request.path, why=str(error))
        return Response(f"{error}\n", 400, content_type="text/plain; charset=utf-8")

    return app


# ── reading and answering ─────────────────────────────────────────────────────────────────────────────────────────────


class _BadForm(Exception):
    """What Twilio would never send; the text says which field."""


def _field(form: MultiDict[str, str], name: str) -> str:
    values = form.getlist(name)
    if not values or not values[0]:
        raise _BadForm(f"form field {name} is missing")
    if len(values) > 1:
        raise _BadForm(f"form field {name} is there {len(values)} times; expected once")
    if len(values[0]) > FIELD_MAX_CHARS:
        raise _BadForm(f"form field {name} has {len(values[0])} characters; at most {FIELD_MAX_CHARS} are allowed")
    if not values[0].isprintable() or _UNREADABLE in values[0]:  # XML has no way to write them
        raise _BadForm(f"form field {name} is {values[0]!a}; expected printable UTF-8")
    return values[0]


def _call_sid(form: MultiDict[str, str]) -> str:
    call_sid = _field(form, "CallSid")
    if not re.fullmatch("CA[0-9a-f]{32}", call_sid):
        raise _BadForm(f"form field CallSid is {call_sid!r}; expected 'CA' and 32 hexadecimal digits")
    return call_sid


def _media_url(public_url: str) -> str:
    """The media WebSocket's address, as Twilio is told it: `http://host` gives `ws://host/media`, https gives wss."""
    parts = urlsplit(public_url)
    schemes = {"http": "ws", "https": "wss"}
    if parts.scheme not in schemes or not parts.netloc or parts.query or parts.fragment:
        raise ConfigError(
            f"public_url is {public_url!r}; expected an http or https address such as 'https://voice.example.com'"
        )
    return f"{schemes[parts.scheme]}://{parts.netloc}{parts.path}{MEDIA_PATH}"


def _xml(twiml: VoiceResponse) -> Response:
    return Response(str(twiml), content_type="text/xml; charset=utf-8")

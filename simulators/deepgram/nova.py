"""A stream of `/v1/listen`: Nova's windows, endpoints and commands."""

import hashlib
import uuid
from datetime import UTC, datetime
from typing import Any, Final

import attrs
import trio

from simulators import tone
from simulators.audio import RATE_HZ
from simulators.deepgram.listening import IDLE, SHOWN_CHARS, Listening, Message, Said, are_texts
from simulators.deepgram.request import Options, too_many
from simulators.deepgram.transcriber import Transcriber
from simulators.websocket import Verdict

# Metadata precedes the close of an idle socket by so much.
_LAST_WORDS_S: Final = 0.025
_MODEL_VERSION: Final = "2025-04-17.21547"


@attrs.define(kw_only=True, eq=False)
class NovaListening(Listening):
    """A stream of `/v1/listen` that was let in."""

    options: Options
    _transcriber: Transcriber = attrs.field(init=False)
    _model_id: str = attrs.field(init=False, factory=lambda: str(uuid.uuid4()))
    _hash: "hashlib._Hash" = attrs.field(init=False, factory=hashlib.sha256)

    def __attrs_post_init__(self) -> None:
        metadata = {"request_id": self.request_id, "model_info": self._model_info(), "model_uuid": self._model_id}
        self._transcriber = Transcriber(options=self.options, policy=self.policy, metadata=metadata)

    @property
    def words(self) -> list[tone.HeardWord]:
        """The words that were made out, or GARBLED, with their times in the stream."""
        return self._transcriber.words

    @property
    def finals(self) -> list[str]:
        """The transcripts that were sent as final and are not empty."""
        results = (each for each in self.sent if each.get("is_final"))
        texts = (each["channel"]["alternatives"][0]["transcript"] for each in results)
        return [text for text in texts if text]

    def _hears(self, audio: bytes) -> list[Said]:
        self._hash.update(audio)
        return self._transcriber.hear(audio)

    def _take_command(self, kind: object, rest: dict[str, Any], text: str) -> None:
        if self.audio_bytes:
            self._alive_at = trio.current_time()  # alone, it does not keep a fresh stream
        match kind:
            case "KeepAlive" if not rest:
                pass
            case "Finalize" if not rest or rest == {"channel": 0}:
                self._hear_all()
                self._say(self._transcriber.finalize())
            case "CloseStream" if not rest:
                self._closing = "CloseStream"
                self._hear_all()
                self._say([*self._transcriber.close(), Said(0.0, self._metadata())])
                self._put(self._last_due, Verdict(1000))
            case "Configure" if _is_configuration(rest):
                self._configure(rest)
            case _:
                self.blame(f"an unknown message: {text[:SHOWN_CHARS]}")
                why = "Could not deserialize last text message: data did not match any variant of untagged enum"
                error = {"type": "Error", "variant": "SchemaError", "description": why, "message": text}
                self._say([Said(0.0, error)])

    def _configure(self, fields: dict[str, Any]) -> None:
        terms = fields.get("keyterms")
        keyterms = self.options.keyterms if terms is None else tuple(terms)
        failure = ""
        if self._configuring:
            failure = "CONFIGURE_ALREADY_PENDING"
        elif keyterms and not self.options.takes_keyterms:
            failure = "CONFIGURE_KEYTERMS_NOT_SUPPORTED"
        elif too_many(keyterms):
            failure = "CONFIGURE_KEYTERM_LIMIT_EXCEEDED"
        answer = {"type": "ConfigureFailure", "request_id": self.request_id, "code": failure}
        if failure:
            self.blame(f"Configure: {failure}")
            self._say([Said(0.0, {**answer, "description": "The configuration was not changed."})])
            return
        self.options = attrs.evolve(self.options, keyterms=keyterms)
        self._configuring = True
        success = {"type": "ConfigureSuccess", "request_id": self.request_id, "keyterms": list(keyterms)}
        self._say([Said(self.policy.configure_late_s, success, in_order=False)])

    async def _watch(self) -> None:
        due = self._alive_at + self.policy.idle_s
        while trio.current_time() < due:
            await trio.sleep_until(due)
            due = self._alive_at + self.policy.idle_s
        self.blame(f"neither audio nor a text message for {self.policy.idle_s:g} s")
        self._closing = "idle"
        self._say([Said(0.0, self._metadata())])
        self._put(self._last_due + _LAST_WORDS_S, Verdict(1011, IDLE))

    def _metadata(self) -> Message:
        metadata: dict[str, Any] = {
            "type": "Metadata",
            "transaction_key": "deprecated",
            "request_id": self.request_id,
            "sha256": self._hash.hexdigest() if self.audio_bytes else "incomplete",
            "created": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "duration": self.audio_bytes / RATE_HZ,
            "channels": 1,
        }
        if self.audio_bytes:
            metadata |= {"models": [self._model_id], "model_info": {self._model_id: self._model_info()}}
        return metadata

    def _model_info(self) -> dict[str, str]:
        name = self.options.model
        return {"name": f"general-{name}", "version": _MODEL_VERSION, "arch": name}


def _is_configuration(fields: dict[str, Any]) -> bool:
    terms, features = fields.get("keyterms"), fields.get("features")
    return (
        fields.keys() <= {"keyterms", "features"}
        and (terms is None or are_texts(terms))
        and (features is None or (isinstance(features, dict) and all(isinstance(on, bool) for on in features.values())))
    )

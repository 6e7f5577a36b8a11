"""TwiML: what a server tells the phone network to do with a call, read as strictly as Twilio reads it.

Names are case-sensitive. A document that cannot be parsed, or with a verb that is not known here, fails as a whole
(12100). An unknown attribute, or a value that cannot be, is a warning (12200): the attribute is ignored.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias
from xml.etree import ElementTree as ET

import attrs

from simulators.twilio.codes import Code, TwilioError

# "the total length of a Parameter's name and value must be less than 500 characters" is how the documents are read.
PARAMETER_CHARACTERS: Final = 500


class TwimlError(TwilioError):
    """A document that fails as a whole."""

    def __init__(self, why: str) -> None:
        super().__init__(Code.DOCUMENT_FAILURE, why)


@attrs.frozen(kw_only=True)
class Say:
    """Speak a text to the caller, ``loop`` times; 0 is for ever."""

    text: str
    loop: int


@attrs.frozen(kw_only=True)
class Play:
    """Play an audio file, or keys, to the caller. One of the two is empty."""

    url: str
    digits: str
    loop: int


@attrs.frozen(kw_only=True)
class Pause:
    """Do nothing for a while."""

    length_s: int


@attrs.frozen(kw_only=True)
class Redirect:
    """Go on with another document; what follows in this one never runs."""

    url: str
    method: str


@attrs.frozen(kw_only=True)
class Dial:
    """Connect the caller to someone else. Without an action the document goes on afterwards."""

    number: str
    action: str | None
    method: str
    timeout_s: int


@attrs.frozen(kw_only=True)
class Hangup:
    """End the call."""


@attrs.frozen(kw_only=True)
class Reject:
    """Refuse the call unanswered: "rejected" or "busy"."""

    reason: str


@attrs.frozen(kw_only=True)
class Stream:
    """A WebSocket to carry the call's audio."""

    url: str
    name: str | None
    status_callback: str | None
    status_callback_method: str
    parameters: Mapping[str, str]


@attrs.frozen(kw_only=True)
class Connect:
    """Join the call to a stream until that ends; then ask ``action``, if any, what comes next."""

    stream: Stream
    action: str | None
    method: str


Verb: TypeAlias = Say | Play | Pause | Redirect | Dial | Hangup | Reject | Connect


@attrs.frozen(kw_only=True)
class Document:
    """A parsed document: its verbs in order, and what was wrong with it without making it fail."""

    verbs: tuple[Verb, ...]
    warnings: tuple[str, ...]


def parse(text: str | bytes) -> Document:
    """Return the document that ``text`` holds; raises TwimlError if Twilio would refuse it."""
    try:
        # Expat of the last years bounds the growth of entities, and who is simulated here calls servers of one's own.
        root = ET.fromstring(text)  # noqa: S314
    except ET.ParseError as error:
        raise TwimlError(f"not well-formed XML: {error}") from error
    if root.tag != "Response":
        raise TwimlError(f"the root is <{root.tag}>, it must be <Response>")
    _no_text(root)
    warnings: list[str] = []
    reader = _Reader(warnings)
    reader.attributes(root, {})
    verbs = tuple(reader.verb(element) for element in root)
    if any(isinstance(verb, Reject) for verb in verbs[1:]):
        raise TwimlError("<Reject> stands after another verb, it must be the first")
    return Document(verbs=verbs, warnings=tuple(warnings))


_DIGITS = 9  # beyond them a number of seconds or repetitions is a mistake


def _number(minimum: int) -> Callable[[str], bool]:
    return lambda value: value.isascii() and value.isdigit() and len(value) < _DIGITS and int(value) >= minimum


def _one_of(*values: str) -> Callable[[str], bool]:
    return lambda value: value in values


def _any(_value: str) -> bool:
    return True


_METHOD = _one_of("GET", "POST")
_LOOP = _number(0)

_Allowed: TypeAlias = Mapping[str, Callable[[str], bool]]

_SAY: _Allowed = {"voice": _any, "language": _any, "loop": _LOOP}
_PLAY: _Allowed = {"loop": _LOOP, "digits": _any}
_DIAL: _Allowed = {
    "action": _any,
    "method": _METHOD,
    "timeout": _number(1),
    "hangupOnStar": _one_of("true", "false"),
    "timeLimit": _number(1),
    "callerId": _any,
    "record": _any,
    "answerOnBridge": _one_of("true", "false"),
    "ringTone": _any,
    "sequential": _one_of("true", "false"),
}
_STREAM: _Allowed = {
    "url": _any,
    "name": _any,
    "track": _one_of("inbound_track"),  # the other tracks are for <Start>
    "statusCallback": _any,
    "statusCallbackMethod": _METHOD,
    "connectorName": _any,
}


class _Reader:
    """Reads elements; what may be ignored goes to ``warnings``."""

    def __init__(self, warnings: list[str]) -> None:
        self._warnings = warnings
        self._verbs: Mapping[str, Callable[[ET.Element], Verb]] = {
            "Say": self._say,
            "Play": self._play,
            "Pause": self._pause,
            "Redirect": self._redirect,
            "Dial": self._dial,
            "Hangup": self._hangup,
            "Reject": self._reject,
            "Connect": self._connect,
        }

    def verb(self, element: ET.Element) -> Verb:
        read = self._verbs.get(element.tag)
        if read is None:
            raise TwimlError(f"unknown verb <{element.tag}>; known here: {', '.join(self._verbs)}")
        return read(element)

    def attributes(self, element: ET.Element, allowed: _Allowed) -> dict[str, str]:
        """The attributes of an element that may be there, with values that can be; the others are warned of."""
        _no_tail(element)
        kept: dict[str, str] = {}
        for name, value in element.attrib.items():
            if name not in allowed:
                self._warnings.append(f"<{element.tag}> has no attribute {name!r}: ignored")
            elif not allowed[name](value):
                self._warnings.append(f"<{element.tag} {name}={value!r}> is not allowed: ignored")
            else:
                kept[name] = value
        return kept

    def _say(self, element: ET.Element) -> Say:
        found = self.attributes(element, _SAY)  # what is inside may be SSML: only its text matters
        return Say(text=" ".join("".join(element.itertext()).split()), loop=int(found.get("loop", "1")))

    def _play(self, element: ET.Element) -> Play:
        found = self.attributes(element, _PLAY)
        url, digits = _text(element), found.get("digits", "")
        if bool(url) == bool(digits):
            raise TwimlError("<Play> takes a URL or digits, one of them")
        return Play(url=url, digits=digits, loop=int(found.get("loop", "1")))

    def _pause(self, element: ET.Element) -> Pause:
        found = self.attributes(element, {"length": _number(0)})
        _no_children(element)
        return Pause(length_s=int(found.get("length", "1")))

    def _redirect(self, element: ET.Element) -> Redirect:
        found = self.attributes(element, {"method": _METHOD})
        url = _text(element)
        if not url:
            raise TwimlError("<Redirect> has no URL")
        return Redirect(url=url, method=found.get("method", "POST"))

    def _dial(self, element: ET.Element) -> Dial:
        found = self.attributes(element, _DIAL)
        numbers = [_text(element, children=True)] if (element.text or "").strip() else []
        for child in element:
            if child.tag != "Number":
                raise TwimlError(f"<Dial> with <{child.tag}> is not known here; known: a number, <Number>")
            self.attributes(child, {"sendDigits": _any, "url": _any, "method": _METHOD})
            numbers.append(_text(child))
        if len(numbers) != 1 or not numbers[0]:
            raise TwimlError(f"<Dial> has {len(numbers)} numbers, one is wanted")
        return Dial(
            number=numbers[0],
            action=found.get("action"),
            method=found.get("method", "POST"),
            timeout_s=int(found.get("timeout", "30")),
        )

    def _hangup(self, element: ET.Element) -> Hangup:
        self.attributes(element, {})
        _no_children(element)
        return Hangup()

    def _reject(self, element: ET.Element) -> Reject:
        found = self.attributes(element, {"reason": _one_of("rejected", "busy")})
        _no_children(element)
        return Reject(reason=found.get("reason", "rejected"))

    def _connect(self, element: ET.Element) -> Connect:
        found = self.attributes(element, {"action": _any, "method": _METHOD})
        _no_text(element)
        if [child.tag for child in element] != ["Stream"]:
            inside = ", ".join(f"<{child.tag}>" for child in element) or "nothing"
            raise TwimlError(f"<Connect> holds {inside}; one <Stream> is wanted")
        return Connect(stream=self._stream(element[0]), action=found.get("action"), method=found.get("method", "POST"))

    def _stream(self, element: ET.Element) -> Stream:
        found = self.attributes(element, _STREAM)
        _no_text(element)
        if not found.get("url"):
            raise TwimlError("<Stream> has no url")
        parameters: dict[str, str] = {}
        for child in element:
            if child.tag != "Parameter":
                raise TwimlError(f"<Stream> holds <{child.tag}>, only <Parameter> is allowed")
            name, value = self._parameter(child)
            parameters[name] = value
        return Stream(
            url=found["url"],
            name=found.get("name"),
            status_callback=found.get("statusCallback"),
            status_callback_method=found.get("statusCallbackMethod", "POST"),
            parameters=parameters,
        )

    def _parameter(self, element: ET.Element) -> tuple[str, str]:
        found = self.attributes(element, {"name": _any, "value": _any})
        _no_children(element)
        if not found.get("name") or "value" not in found:
            raise TwimlError("<Parameter> needs a name and a value")
        name, value = found["name"], found["value"]
        if (length := len(name) + len(value)) >= PARAMETER_CHARACTERS:
            raise TwimlError(
                f"<Parameter name={name[:40]!r}> is {length} characters; name and value together "
                f"must stay below {PARAMETER_CHARACTERS}"
            )
        return name, value


def _text(element: ET.Element, *, children: bool = False) -> str:
    """An element's text without the white space around it; it may hold nothing else."""
    if not children:
        _only_text(element)
    return (element.text or "").strip()


def _only_text(element: ET.Element) -> None:
    if len(element):
        raise TwimlError(f"<{element.tag}> holds <{element[0].tag}>, only text is allowed")


def _no_children(element: ET.Element) -> None:
    _only_text(element)
    _no_text(element)


def _no_text(element: ET.Element) -> None:
    if (element.text or "").strip():
        raise TwimlError(f"<{element.tag}> holds the text {(element.text or '').strip()[:40]!r}, none is allowed")


def _no_tail(element: ET.Element) -> None:
    if (element.tail or "").strip():
        raise TwimlError(
            f"the text {(element.tail or '').strip()[:40]!r} stands after <{element.tag}>, none is allowed"
        )

"""Speaker: text spoken by hibari, whose voice `heart` ships inside its wheel, with the time of every word.

The network decides how many 25 ms steps each phoneme lasts, but the model does not give that number out. An output of
the model is a name in its file, so that name is added to the file as it is loaded. A file without that tensor is
spoken all the same, only without times.
"""

import difflib
import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
import hibari.tts
import numpy as np
import numpy.typing as npt
import onnxruntime
from hibari.dsp import SR as NATIVE_HZ
from hibari.dsp import synth
from hibari.g2p import G2P
from hibari.g2p.normalize import normalize
from hibari.voices import VOICES, voice_path
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from engine.codec import resample
from engine.messages.errors import ConfigError, ProviderDown
from engine.messages.recognition import Word
from engine.providers.local.voice import Spoken

# Steps of each phoneme, after rounding; int64, one number for each id. Found by walking the graph of hibari 0.2.1.
_STEPS_OUTPUT: Final = "/Cast_32_output_0"
_STEP_SAMPLES = 600  # at NATIVE_HZ: two frames of the vocoder

# Characters of text that the network is given at once: under the 400 phonemes that hibari allows, numbers spelt out.
_LONGEST_TEXT = 240
_CLAUSE = re.compile(r"(?<=[,;:–—])\s+")
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*$")

# RMS of speech while there is speech, dB of full scale. ITU-T P.56 measures so; lines carry -26 to -18.
_LEVEL_DB = -22.0
_PEAK = 0.9
# What is this much quieter than the loudest 5 ms is an edge, not sound.
_EDGE_DB = -45.0
_EDGE_SAMPLES = NATIVE_HZ // 200
_LEAD_S = 0.03


@attrs.frozen
class Timbre:
    """How a voice differs from the one it was trained on. 1 and 1: not at all.

    pitch: factor on the fundamental.
    size: factor on all frequencies, by playing slower what was spoken faster: below 1 is a larger speaker.
    """

    pitch: float = 1.0
    size: float = 1.0


# Timbres made of a voice in the package, for a second speaker with nothing to download.
TIMBRES: Final = {"heart-low": ("heart", Timbre(pitch=0.68, size=0.86))}


@attrs.frozen(kw_only=True)
class SpeakerPolicy:
    """How to speak.

    speed: 0.5 to 2; 1 is the pace it was trained on.
    after_sentence_s, after_clause_s: silence left at an end. The model's own is 0.5 s around every sentence.
    """

    speed: float = 1.0
    after_sentence_s: float = 0.12
    after_clause_s: float = 0.06


class Speaker:
    """A voice, loaded. Blocks, for about 15 ms a second of speech; several threads may use it.

    voice: hibari's name, or one of `TIMBRES`. Only files that are there are used: nothing is downloaded.
    Raises ConfigError for a voice that is not known or not there.
    """

    def __init__(self, voice: str = "heart", policy: SpeakerPolicy | None = None) -> None:
        self._policy = policy or SpeakerPolicy()
        name, self._timbre = TIMBRES.get(voice, (voice, Timbre()))
        model = _model_path(name).read_bytes()
        self.aligned = _STEPS_OUTPUT.encode() in model
        if self.aligned:
            model += _one_more_output(_STEPS_OUTPUT)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._network = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._vocabulary: dict[str, int] = json.loads(Path(hibari.tts.ASSETS, "vocab.json").read_text("utf-8"))
        self._g2p = _g2p(british=VOICES[name]["british"])
        self._gain = 1.0
        self._gain = self._measured_gain()

    def speak(self, text: str, speed: float = 1.0) -> Iterator[Spoken]:
        """Speak `text`, a sentence at a time. The same text is always spoken the same. Raises `ProviderDown`.

        speed: of the policy's pace; both together from 0.5 to 2.
        """
        for sentence in hibari.tts.Hibari.split_sentences(text):
            for part in _parts(sentence) if any(letter.isalnum() for letter in sentence) else ():
                try:
                    sound, rate_hz, words = self._sound(part, speed)
                except (Fail, InvalidArgument, RuntimeException) as error:
                    raise ProviderDown(f"speech synthesis failed on {len(part)} characters: {error}") from error
                if len(sound):
                    yield Spoken(resample.to_ulaw(sound, rate_hz), words)

    def _measured_gain(self) -> float:
        sound, _, _ = self._sound("Good morning, how can I help you today? The quick brown fox jumps over the dog.")
        active = _levels(sound)
        active = active[active > active.max() * 10 ** (-30 / 20)]
        return float(10 ** (_LEVEL_DB / 20) / np.sqrt(np.mean(active**2)))

    def _sound(self, text: str, speed: float = 1.0) -> tuple[npt.NDArray[np.float32], int, tuple[Word, ...]]:
        """Return what `text` sounds like, the rate at which it is to be played, and the times of its words."""
        written, phonemes, owners = self._phonemes(text)
        ids = [0, *(self._vocabulary[phoneme] for phoneme in phonemes), 0]
        rate_hz = round(NATIVE_HZ * self._timbre.size)
        if len(ids) == 2:  # noqa: PLR2004  (nothing between the pads)
            return np.zeros(0, np.float32), rate_hz, ()
        speed *= self._policy.speed / self._timbre.size
        feeds = {"ids": np.array([ids], np.int64), "speed": np.array([speed], np.float32)}
        lh, theta, ln, lr, phi, f0, *steps = self._network.run(None, feeds)
        # The noise in breath and s: seeded, so that a clip is the same each time it is rendered.
        noise = np.random.default_rng(0)
        samples = synth(lh[0], theta[0], ln[0], lr[0], phi[0], f0[0] * self._timbre.pitch, noise)
        samples *= min(self._gain, _PEAK / max(float(np.abs(samples).max()), 1e-6))
        rest_s = self._policy.after_sentence_s if _SENTENCE_END.search(text) else self._policy.after_clause_s
        sound, begin, end = _trimmed(samples, rest_s, rate_hz)
        words: tuple[Word, ...] = ()
        if steps:
            # The last phoneme's steps hold the silence after it too: no word is longer than its sound.
            ends = np.cumsum(steps[0].reshape(-1)) * _STEP_SAMPLES
            words = align(text.split(), _spans(written, owners, (np.clip(ends, begin, end) - begin) / rate_hz))
        return sound, rate_hz, words

    def _phonemes(self, text: str) -> tuple[list[str], list[str], list[int]]:
        """Return the words as they are read out, the phonemes, and for each phoneme the word it is of (-1: none)."""
        try:
            tokens = self._g2p.phonemize_tokens(self._g2p.tokenize(normalize(text)))
        except (IndexError, ValueError) as error:  # it has no words for a number of 40 digits
            raise ProviderDown(f"no way to read out a text of {len(text)} characters") from error
        written, phonemes, owners = [""], [], []
        for token in tokens:
            spoken = any(character.isalnum() for character in token.text)
            for phoneme in token.phonemes or "":
                if phoneme in self._vocabulary:
                    phonemes.append(phoneme)
                    owners.append(len(written) - 1 if spoken else -1)
            written[-1] += token.text
            if token.whitespace:
                phonemes.append(" ")
                owners.append(-1)
                written.append("")
        while phonemes and phonemes[-1] == " ":
            phonemes.pop()
            owners.pop()
        return written, phonemes, owners


@functools.cache
def _g2p(*, british: bool) -> G2P:
    """Return the reader of an accent, shared by its voices: its lexicons are most of a voice's memory."""
    return G2P(british=british)


def _model_path(name: str) -> Path:
    if name not in VOICES:
        known = ", ".join(repr(each) for each in (*VOICES, *TIMBRES))
        raise ConfigError(f"unknown local voice {name!r}; known: {known}")
    try:
        return Path(voice_path(name, download_missing=False))
    except FileNotFoundError as error:
        raise ConfigError(f"local voice {name!r} is not in the package and not at {error}; 'heart' is there") from error


def _one_more_output(name: str) -> bytes:
    """Return what makes `name` an output of an ONNX file when it is put at the file's end.

    Protocol buffers merge a message that comes twice, so the file's graph (field 7) gains an output (field 12) with
    that name (field 1). Lengths are below 128, a byte each.
    """
    field = name.encode()
    for number in (1, 12, 7):
        field = bytes([number << 3 | 2, len(field)]) + field
    return field


def _parts(sentence: str) -> Iterator[str]:
    """Return a sentence in parts short enough for the network: at clauses where there are any."""
    part = ""
    for clause in _CLAUSE.split(sentence):
        for word in [clause] if len(clause) <= _LONGEST_TEXT else clause.split():
            if part and len(part) + len(word) >= _LONGEST_TEXT:
                yield part
                part = ""
            part = f"{part} {word}" if part else word
    yield part


def _levels(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the RMS of each 5 ms."""
    whole = samples[: len(samples) // _EDGE_SAMPLES * _EDGE_SAMPLES].reshape(-1, _EDGE_SAMPLES)
    levels: npt.NDArray[np.float32] = np.sqrt(np.mean(whole**2, axis=1))
    return levels


def _trimmed(samples: npt.NDArray[np.float32], rest_s: float, rate_hz: int) -> tuple[npt.NDArray[np.float32], int, int]:
    """Return the sound with little silence before it and `rest_s` after, where that began, where the sound ended."""
    levels = _levels(samples)
    loud = np.flatnonzero(levels > levels.max(initial=0.0) * 10 ** (_EDGE_DB / 20))
    if not len(loud):
        return samples[:0], 0, 0
    begin = max(0, int(loud[0]) * _EDGE_SAMPLES - round(_LEAD_S * rate_hz))
    end = (int(loud[-1]) + 1) * _EDGE_SAMPLES
    rest = end + round(rest_s * rate_hz)
    return np.pad(samples[begin:rest], (0, max(0, rest - len(samples)))), begin, end


def _spans(written: list[str], owners: list[int], ends: npt.NDArray[np.float64]) -> list[Word]:
    """Return the written words with their times. `ends` counts the pads at both edges, `owners` does not."""
    spans: list[Word] = []
    at: dict[int, tuple[float, float]] = {}
    for position, owner in enumerate(owners):
        start, end = float(ends[position]), float(ends[position + 1])
        at[owner] = (at.get(owner, (start, end))[0], end)
    for index, text in enumerate(written):
        before = spans[-1].end_s if spans else 0.0
        start, end = at.get(index, (before, before))
        spans.append(Word(text=text, start_s=start, end_s=end))
    return spans


def align(words: list[str], spans: list[Word]) -> tuple[Word, ...]:
    """Return `words`, as they were written, with the times of `spans`, as they were read out ("2:30" → "two thirty").

    Words that differ share the time of what stands in their place, by their length.
    """
    read, wanted = [_key(span.text) for span in spans], [_key(word) for word in words]
    matcher = difflib.SequenceMatcher(None, read, wanted, autojunk=False)
    aligned: list[Word] = []
    for _, i, i_end, j, j_end in matcher.get_opcodes():
        before = aligned[-1].end_s if aligned else (spans[0].start_s if spans else 0.0)
        start_s, end_s = (spans[i].start_s, spans[i_end - 1].end_s) if i < i_end else (before, before)
        if j == j_end:  # read out, but not written: it belongs to the word before
            if aligned:
                aligned[-1] = attrs.evolve(aligned[-1], end_s=end_s)
            continue
        if j_end - j == i_end - i:
            aligned += [attrs.evolve(spans[i + k], text=words[j + k]) for k in range(j_end - j)]
            continue
        ends = np.cumsum([len(word) for word in words[j:j_end]])
        cuts = [start_s, *(start_s + (end_s - start_s) * ends / ends[-1]).tolist()]
        aligned += [Word(text=words[j + k], start_s=cuts[k], end_s=cuts[k + 1]) for k in range(j_end - j)]
    return tuple(aligned)


def _key(word: str) -> str:
    return "".join(character for character in word.lower() if character.isalnum())

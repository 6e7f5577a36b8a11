"""Clips: rendered once for a voice and a text, kept on disk, and never half of one."""

import os
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

from engine.messages.errors import ConfigError, ProviderDown
from engine.providers.clips import AT_ONCE, render_clips
from engine.providers.contract import Seam, VoiceAsk, VoiceEvent

TEXTS = {"greeting": "Hello.", "goodbye": "Goodbye."}


@attrs.define
class LetterVoice:
    """Speaks a text as its own letters, and knows what it was asked for."""

    vendor: str = "letters"
    voice: str = "plain"
    rendered: list[str] = attrs.field(factory=list)
    fails_at: str = ""

    async def session(self, seam: Seam[VoiceAsk, VoiceEvent]) -> None:
        raise AssertionError("a clip needs no session")

    async def render(self, text: str) -> bytes:
        await trio.lowlevel.checkpoint()
        if text == self.fails_at:
            raise ProviderDown("the voice is gone")
        self.rendered.append(text)
        return f"{self.vendor} {self.voice} {text}".encode()


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "var" / "clips"


async def test_each_text_is_spoken_by_its_name(folder: Path) -> None:
    told: list[str] = []
    clips = await render_clips(TEXTS, LetterVoice(), folder, progress=told.append)
    assert clips == {"greeting": b"letters plain Hello.", "goodbye": b"letters plain Goodbye."}
    assert told == ["rendered 2 clips in the voice 'plain'"]


async def test_what_was_rendered_before_is_not_rendered_again(folder: Path) -> None:
    first = await render_clips(TEXTS, LetterVoice(), folder)
    voice, told = LetterVoice(), list[str]()
    assert await render_clips(TEXTS, voice, folder, progress=told.append) == first
    assert (voice.rendered, told) == ([], [])


async def test_a_new_text_under_an_old_name_is_rendered(folder: Path) -> None:
    await render_clips(TEXTS, LetterVoice(), folder)
    voice = LetterVoice()
    clips = await render_clips({**TEXTS, "greeting": "Good morning."}, voice, folder)
    assert voice.rendered == ["Good morning."]
    assert clips["greeting"] == b"letters plain Good morning."


@pytest.mark.parametrize("other", [LetterVoice(voice="deep"), LetterVoice(vendor="runes")], ids=["voice", "vendor"])
async def test_each_voice_has_clips_of_its_own(other: LetterVoice, folder: Path) -> None:
    await render_clips(TEXTS, LetterVoice(), folder)
    clips = await render_clips(TEXTS, other, folder)
    assert clips["greeting"] == f"{other.vendor} {other.voice} Hello.".encode()
    assert sorted(other.rendered) == sorted(TEXTS.values())


async def test_a_text_may_hold_anything(folder: Path) -> None:
    texts = {"odd": "../../etc/passwd\0 Grüß Gott! " + "long " * 1000}
    first = await render_clips(texts, LetterVoice(), folder)
    voice = LetterVoice()
    assert await render_clips(texts, voice, folder) == first
    assert voice.rendered == []
    only_file(folder)


class Killed(BaseException):
    """A kill, in a test that must go on."""


async def begun(folder: Path, *, process: int) -> Path:
    """Leave what a process leaves that was killed before its clip was in its place."""

    async def killed(_from: trio.Path, _to: trio.Path) -> None:
        await trio.lowlevel.checkpoint()
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio.Path, "rename", killed)
        patch.setattr(os, "getpid", lambda: process)
        with pytest.RaisesGroup(Killed):
            await render_clips({"greeting": TEXTS["greeting"]}, LetterVoice(), folder)
    left = only_file(folder)
    await trio.Path(left).write_bytes(b"half")
    return left


async def test_a_kill_before_a_clip_is_whole_leaves_none(folder: Path) -> None:
    await begun(folder, process=os.getpid())
    voice = LetterVoice()
    clips = await render_clips(TEXTS, voice, folder)
    assert sorted(voice.rendered) == sorted(TEXTS.values())
    assert clips["greeting"] == b"letters plain Hello."
    assert await render_clips(TEXTS, LetterVoice(), folder) == clips


async def test_what_another_process_has_begun_is_left_to_it(folder: Path) -> None:
    theirs = await begun(folder, process=1)
    await render_clips(TEXTS, LetterVoice(), folder)
    assert theirs.read_bytes() == b"half"


async def test_a_voice_that_fails_costs_its_clip_and_no_other(folder: Path) -> None:
    with pytest.raises(ProviderDown):
        await render_clips(TEXTS, LetterVoice(fails_at="Goodbye."), folder)
    voice = LetterVoice()
    await render_clips(TEXTS, voice, folder)
    assert voice.rendered == ["Goodbye."]


async def test_a_folder_that_cannot_be_used_is_named_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "clips").write_text("a file")
    with pytest.raises(ConfigError) as raised:
        await render_clips(TEXTS, LetterVoice(), tmp_path / "clips")
    assert str(raised.value) == f"storage.clips: {tmp_path / 'clips'} cannot be used: file exists"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_folder_that_cannot_be_written_is_named_in_one_sentence(tmp_path: Path) -> None:
    await trio.Path(tmp_path).chmod(0o500)
    with pytest.raises(ConfigError) as raised:
        await render_clips(TEXTS, LetterVoice(), tmp_path / "clips")
    assert str(raised.value) == f"storage.clips: {tmp_path / 'clips'} cannot be used: permission denied"


async def test_those_who_share_an_account_have_their_clips_rendered_few_at_a_time(folder: Path) -> None:
    @attrs.define
    class SlowVoice(LetterVoice):
        speaking: int = 0
        most: int = 0

        async def render(self, text: str) -> bytes:
            self.speaking += 1
            self.most = max(self.most, self.speaking)
            while self.most < AT_ONCE:  # noqa: ASYNC110 - so many meet
                await trio.sleep(0.001)
            await trio.sleep(0.02)
            self.speaking -= 1
            return await super().render(text)

    voice, slots = SlowVoice(), trio.CapacityLimiter(AT_ONCE)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for number in range(3):
                texts = {f"clip {at}": f"{number} {at}" for at in range(AT_ONCE)}
                nursery.start_soon(partial(render_clips, texts, voice, folder, slots=slots))
    assert len(voice.rendered) == 3 * AT_ONCE
    assert voice.most == AT_ONCE

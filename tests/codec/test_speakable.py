"""Pieces: what a voice is given to say, and when."""

import re
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.codec.markdown import Plain
from engine.codec.speakable import Speakable


def pieces_of(tokens: Iterable[str]) -> list[str]:
    speakable, pieces = Speakable(), list[str]()
    for token in tokens:
        speakable, more = speakable.push(token)
        pieces += more
    speakable, last = speakable.flush()
    assert speakable == Speakable()
    return pieces + list(last)


LONG = "we have been looking after teeth in this town for a very long time indeed and we like it here"  # 93 characters

TABLE: list[tuple[str, list[str]]] = [
    # sentences
    ("Hello. How are you?", ["Hello.", "How are you?"]),
    ("Great! See you then.", ["Great!", "See you then."]),
    ("Really?! Yes. No.", ["Really?!", "Yes.", "No."]),
    ('He said "Yes." Then he left.', ['He said "Yes."', "Then he left."]),
    ("It is open (until six.) Come in.", ["It is open (until six.)", "Come in."]),
    ("No. We are closed on Sundays.", ["No.", "We are closed on Sundays."]),
    ("We open at 9. 20 people wait.", ["We open at 9.", "20 people wait."]),
    ("Line one\nline two\n\nline three", ["Line one", "line two", "line three"]),
    ("One.\r\nTwo.", ["One.", "Two."]),
    ("Hmm... Friday works.", ["Hmm...", "Friday works."]),
    ("Well… let me see.", ["Well… let me see."]),
    ("a  lot   of\tspace", ["a lot of space"]),
    ("", []),
    (" \n ", []),
    ("...", []),
    ("?!", []),
    ('It is so. " Next', ["It is so.", '" Next']),
    ("We also do pre- and post-care.", ["We also do pre- and post-care."]),
    ("¿Cómo está? ¡Bien! Gracias.", ["¿Cómo está?", "¡Bien!", "Gracias."]),
    # the first piece, at a clause
    ("I can do that, of course, today.", ["I can do that,", "of course, today."]),
    ("Sure, I can do that, no problem.", ["Sure, I can do that,", "no problem."]),
    ("Of course, gladly, I will do it.", ["Of course, gladly,", "I will do it."]),
    ("Let me have a look — one moment.", ["Let me have a look —", "one moment."]),
    ("Let me have a look—one moment.", ["Let me have a look—", "one moment."]),
    ("Let me have a look - one moment.", ["Let me have a look -", "one moment."]),
    ("We have three slots: nine, ten, noon.", ["We have three slots:", "nine, ten, noon."]),
    ("I checked the book; it is full.", ["I checked the book;", "it is full."]),
    ("Let me see now... okay, found it.", ["Let me see now...", "okay, found it."]),
    ("I am a, b, c and d.", ["I am a, b, c and d."]),
    ("Mr. Jones, hello, come in.", ["Mr. Jones, hello,", "come in."]),
    ('He said "I can do that," and left.', ['He said "I can do that,', "and left."]),
    ('He said "I can do that," "now" too.', ['He said "I can do that,', '"now" too.']),
    ("We can do that,(or not) sir.", ["We can do that,", "(or not) sir."]),
    ("We have plums,—and pears.", ["We have plums,", "and pears."]),
    ("It's for Ms. O'Neil-Lee, right?", ["It's for Ms. O'Neil-Lee,", "right?"]),
    ("Go to our page www.example.com/a,b?c=1 now.", ["Go to our page www.example.com/a,b?c=1 now."]),
    ("We are open 9 AM – 5 PM and Mon - Fri only.", ["We are open 9 AM – 5 PM and Mon - Fri only."]),
    ("We are open from 9—5 today.", ["We are open from 9— 5 today."]),
    # what is too long
    (
        f"Yes. So {LONG}, and {LONG}, and so on.",
        ["Yes.", f"So {LONG}, and {LONG},", "and so on."],
    ),
    ("word " * 100, [("word " * 49).strip(), ("word " * 49).strip(), "word word"]),
    # abbreviations
    ("Dr. Smith and Mrs. Jones are in.", ["Dr. Smith and Mrs. Jones are in."]),
    ("It is at 12 Main St. Louis will come.", ["It is at 12 Main St. Louis will come."]),
    ("It is at 12 Main St. We open at 9.", ["It is at 12 Main St.", "We open at 9."]),
    ("We meet in St. Paul every week.", ["We meet in St. Paul every week."]),
    ("Bring papers, e.g. a passport, please.", ["Bring papers, e.g. a passport,", "please."]),
    ("Bring a paper, e.g., a passport.", ["Bring a paper,", "e.g., a passport."]),
    ("Bring it, e.g., a passport, please.", ["Bring it, e.g., a passport,", "please."]),
    ("It is room No. 5 on floor no. 2.", ["It is room No. 5 on floor no. 2."]),
    ("Call us at ext. 5. Thanks.", ["Call us at ext. 5.", "Thanks."]),
    ("We sell brushes, floss, etc. and paste.", ["We sell brushes,", "floss, etc. and paste."]),
    ("J. R. Tolkien wrote to me. Nice.", ["J. R. Tolkien wrote to me.", "Nice."]),
    ("He has a Ph.D. in physics.", ["He has a Ph.D. in physics."]),
    ("The U.S. Open is on. It is fun.", ["The U.S. Open is on.", "It is fun."]),
    ("Acme Inc. and Sons Ltd. are closed.", ["Acme Inc. and Sons Ltd. are closed."]),
    ("It is free on Jan. 5 and Feb. 6.", ["It is free on Jan. 5 and Feb. 6."]),
    ("Approx. Five minutes vs. Ten.", ["Approx. Five minutes vs. Ten."]),
    # times, numbers, versions
    ("We open at 9 a.m. and close at 3.5 p.m. on Friday.", ["We open at 9 a.m. and close at 3.5 p.m. on Friday."]),
    ("It is at 2 p.m. Does that work?", ["It is at 2 p.m.", "Does that work?"]),
    ('It is at 2 p.m. "Does it fit?"', ["It is at 2 p.m.", '"Does it fit?"']),
    ("It is at 2 p.m. Thursday then.", ["It is at 2 p.m. Thursday then."]),
    ("It is at 2 p.m.", ["It is at 2 p.m."]),
    ("Is it at 2 p.m.? Yes.", ["Is it at 2 p.m.?", "Yes."]),
    ("See you at 10:30. Bye.", ["See you at 10:30.", "Bye."]),
    ("It costs $3,000.50 in all. Fine.", ["It costs $3,000.50 in all.", "Fine."]),
    ("It is on November 21, 2026, at 9.", ["It is on November 21, 2026,", "at 9."]),
    ("We run version 3.11.7 now. Good.", ["We run version 3.11.7 now.", "Good."]),
    ("We are open 9–5 and 9-5.", ["We are open 9–5 and 9-5."]),
    ("It is 98.6 degrees. Warm.", ["It is 98.6 degrees.", "Warm."]),
    # addresses
    ("Mail john.doe@example.com. Thanks.", ["Mail john.doe@example.com.", "Thanks."]),
    ("Mail jane_m_doe@mail.example.com!", ["Mail jane_m_doe@mail.example.com!"]),
    ("See www.example.com/a,b?c=1. Bye.", ["See www.example.com/a,b?c=1.", "Bye."]),
    ("See https://example.com/_a_b: it helps.", ["See https://example.com/_a_b: it helps."]),
    # no Markdown is spoken
    (
        "**Bold**, *slanted*, ***both*** and __all__ _this_.",
        ["Bold, slanted, both and all this."],
    ),
    ("This is **very important**, so listen.", ["This is very important,", "so listen."]),
    ("# Hours\nNine to five.\n## Prices\nLow.", ["Hours", "Nine to five.", "Prices", "Low."]),
    ("Choose:\n- Cleaning\n* Filling\n+ Crown\n• Check", ["Choose:", "Cleaning", "Filling", "Crown", "Check"]),
    ("Choose:\n1. Cleaning\n2. Filling\n3) Crown", ["Choose:", "Cleaning", "Filling", "Crown"]),
    ("  - **Cleaning**: deep\n    1. Now", ["Cleaning: deep", "Now"]),
    ("3. That is how many.", ["3.", "That is how many."]),
    ("2026. That was a year.", ["2026.", "That was a year."]),
    ("- [ ] Call\n- [x] Write", ["Call", "Write"]),
    ("> quoted\n>> twice", ["quoted", "twice"]),
    ("Use `book` and ``cancel``.", ["Use book and cancel."]),
    ("```python\nbook now\n```\nDone.", ["book now", "Done."]),
    ("```\nbook now\n```Done.", ["book now", "Done."]),
    ('See [our site](https://x.example/a_(b) "title") now.', ["See our site now."]),
    ("See ![a map](map.png) here.", ["See a map here."]),
    ("See [this](if you like) now.", ["See this (if you like) now."]),
    ("See [our site](https://x.exam", ["See our site"]),
    ("Press [1] to go on.", ["Press 1 to go on."]),
    ("| Name | Price |\n|:---|---:|\n| Cleaning | $80 |", ["Name, Price", "Cleaning, $80"]),
    ("| Name: | Ann |", ["Name: Ann"]),
    ("#1 dentist in town", ["#1 dentist in town"]),
    ("Above\n---\n***\nbelow\n=====", ["Above", "below"]),
    ("It is ~~gone~~ here, ~5 minutes.", ["It is gone here,", "~5 minutes."]),
    ("Line<br>break <b>bold</b> <https://x.example>", ["Line break bold https://x.example"]),
    ("If 3 < 5 and <your name> is set.", ["If 3 < 5 and your name is set."]),
    (r"snake\_case and \*stars\*", ["snake_case and stars"]),
    ("==Note== x^2 &amp; &#39;y&#39;&nbsp;z", ["Note x2 & 'y' z"]),
    ('Wait <break time="1s"/>a <prosody rate="slow">bit</prosody> <thinking>more</thinking>', ["Wait a bit more"]),
    ("‣ One\n\u2043 Two\n· Three\n◦ Four\n▪ Five", ["One", "Two", "Three", "Four", "Five"]),
    ("[**Book**](https://x.example/b?d=1&e=2) `now`", ["Book now"]),
    # what looks like Markdown
    ("Smith & Sons, AT&T & co; a=b", ["Smith & Sons,", "AT&T & co; a=b"]),
    ("The col·lecció is &new; & 5 < 6", ["The col·lecció is &new;", "& 5 < 6"]),
    ("Press * or # now.", ["Press star or # now."]),
    ("It is 5 * 3 or 5*3.", ["It is 5 times 3 or 5 times 3."]),
    ("-5 degrees, +1 555 0100, #1 dentist", ["-5 degrees, +1 555 0100,", "#1 dentist"]),
    ("What a day![x](y)", ["What a dayx"]),
    # no emoji
    ("Great 😀! See you 👩‍⚕️👍🏽 there ❤️.", ["Great!", "See you there."]),
    ("Call 1️⃣ now ☎ ✅", ["Call 1 now"]),
    ("Here → there™ at 20°C", ["Here there at 20°C"]),
    ("Flags 🇺🇸🏴󠁧󠁢󠁥󠁮󠁧󠁿, families 👨‍👩‍👧‍👦, keys #️⃣ 2⃣.", ["Flags, families, keys # 2."]),
    ("Done ✓ ✔️ ☑ ★ ● ▪ ▶ ⏰ ♪ ⟶ ➡️ † ※ ① \ue000\ufffd now", ["Done now"]),
]


@pytest.mark.parametrize(("text", "pieces"), TABLE)
def test_a_text_becomes_these_pieces_however_it_is_cut(text: str, pieces: list[str]) -> None:
    assert pieces_of([text]) == pieces
    assert pieces_of(text) == pieces
    assert pieces_of(re.findall(r"\s*\S+|\s+", text)) == pieces
    assert pieces_of(re.findall(r"\S+\s*|\s+", text)) == pieces


SEEDS = ["a", "Bc", "Dr", "no", "p.m", "5", "1", " ", " ", "\n", "```", "😀", *".,;:?!*_`#-~|>[](){}<>\"'=+\\/@—–…&$·"]
SEEDS += ["and so on,", '",', "9 AM –", "&amp;", "</b>"]
MARKED = st.lists(
    st.sampled_from(SEEDS) | st.text(max_size=3),
    max_size=40,
).map("".join)


@given(text=MARKED, data=st.data())
def test_every_cutting_of_every_text_gives_the_same_pieces(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    chunks = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert pieces_of(chunks) == pieces_of([text])
    assert pieces_of(text) == pieces_of([text])


def letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


@given(text=MARKED)
@example(text="```\n```__a")
@example(text="<a *b*>")
def test_pieces_hold_all_that_is_plain_and_no_mark(text: str) -> None:
    plain, said = Plain().push(text)
    fresh, rest = plain.flush()
    assert fresh == Plain()
    pieces = pieces_of([text])
    assert letters("".join(pieces)) == letters(said + rest)
    for piece in pieces:
        assert letters(piece)
        assert piece == " ".join(piece.split())
        assert not set(piece) & set("*`[]|\\😀")
        piece.encode()


@given(st.text(alphabet="abAB \n.,;:?!'\"()…&$%/@", max_size=80).map("x{}".format))
def test_a_text_without_marks_is_said_word_for_word(text: str) -> None:
    said = " ".join(pieces_of([text])).split()
    assert list(filter(letters, said)) == list(filter(letters, text.split()))


@pytest.mark.parametrize(
    ("tokens", "pieces"),
    [
        (["I", " can", " do", " that", ",", " yes"], [(), (), (), (), ("I can do that,",), ()]),
        (["I can do that", ',"', " I", " said."], [(), ("I can do that,",), (), ()]),
        (["It is on May 5", ",", " at"], [(), (), ("It is on May 5,",)]),
        (["We are open 9 AM", " –", " 5", " PM"], [(), (), (), ()]),
        (["Let me see now", " –", " yes"], [(), (), ("Let me see now –",)]),
        (["Sure", ".", " I", " can"], [(), (), ("Sure.",), ()]),
        (["At", " 3", ".", "5", " p", ".", "m", ".", " Fine"], [()] * 9),
        (["At 3 p.m.", " It", " is"], [(), (), ("At 3 p.m.",)]),
        (["Done!", "\n"], [(), ("Done!",)]),
        (["It is **so", "** good, you", " see"], [(), ("It is so good,",), ()]),
    ],
)
def test_a_piece_comes_as_soon_as_it_is_certain(tokens: list[str], pieces: list[tuple[str, ...]]) -> None:
    speakable, got = Speakable(), []
    for token in tokens:
        speakable, some = speakable.push(token)
        got.append(some)
    assert got == pieces


def test_the_next_reply_has_an_early_first_piece_again() -> None:
    speakable, _ = Speakable().push("One two three four, five. ")
    assert not speakable.is_first
    speakable, _ = speakable.flush()
    _, pieces = speakable.push("One two three four, five")
    assert pieces == ("One two three four,",)


def test_an_unfinished_piece_is_held_as_a_value() -> None:
    before, _ = Speakable().push("See you at 3 p.")
    first, _ = before.push("m. It is")
    again, _ = before.push("m. It is")
    assert first == again
    assert hash(first) == hash(again)
    assert before.flush()[1] == ("See you at 3 p.",)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a * b", "a star b"),
        ("*", ""),
        ("a*5", "a5"),
        ("- ", ""),
        ("1. ", "1. "),
        ("![x](" + "y" * 600 + ")", "x (" + "y" * 600 + ")"),
        ("<" + "y" * 600 + ">", "<" + "y" * 600 + ">"),
        ("~~~\nx\n~~~", "x\n"),
        ("1. a\n\n2. b\n4. c", "a\nb\n4. c"),
    ],
)
def test_marks_that_never_close_are_said_or_dropped_but_never_wait_for_ever(text: str, plain: str) -> None:
    state, said = Plain().push(text)
    assert said + state.flush()[1] == plain

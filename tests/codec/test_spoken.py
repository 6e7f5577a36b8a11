"""What stands for numbers, times, prices and abbreviations when a text is spoken, and how the words are counted."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.codec import english
from engine.codec.spoken import Diction, Spoken, heard


def _words(text: str) -> list[str]:
    return text.split()


# What is written, and what is said.
TABLE = """
    10:30 AM | ten thirty AM
    at 10:30am, | at ten thirty AM,
    at 3pm. | at three PM.
    at 3 p.m. | at three PM.
    at 3 p.m.? | at three PM?
    at 3 p.m. We open | at three PM. We open
    at 3 p.m. on Monday | at three PM on Monday
    17:45 | seventeen forty-five
    at 9:05 | at nine oh five
    10:00 | ten o'clock
    10:00 PM | ten PM
    13:00 | thirteen hundred
    00:15 | twelve fifteen AM
    0:00 | midnight
    9:15, 10:30 and 2:45 | nine fifteen, ten thirty and two forty-five
    12:30:15 | twelve thirty and fifteen seconds
    9-5 | nine to five
    9am-5pm | nine AM to five PM
    9:00-17:30 | nine o'clock to seventeen thirty
    Mon–Fri, 9 AM – 5 PM. | Monday to Friday, nine AM to five PM.
    2-3 PM | two to three PM
    3:30-4:15pm | three thirty to four fifteen PM
    25:99 | twenty-five to ninety-nine
    call +1 (555) 010-0002. | call five five five, zero one zero, zero zero zero two.
    555-0100 | five five five, zero one zero zero
    555.010.0002 | five five five, zero one zero, zero zero zero two
    5550100002 | five five five, zero one zero, zero zero zero two
    +15550100002 | five five five, zero one zero, zero zero zero two
    1-800-555-0100 | one, eight hundred, five five five, zero one zero zero
    (800) 555-0100 | eight hundred, five five five, zero one zero zero
    555-010-0002 x12 | five five five, zero one zero, zero zero zero two, extension twelve
    555-010-0002, ext. 104 | five five five, zero one zero, zero zero zero two, extension one zero four
    +44 20 7946 0958 | plus four four, two zero, seven nine four six, zero nine five eight
    +442079460958 | plus four four, two zero seven, nine four six, zero nine five eight
    911 | nine one one
    9-1-1 | nine one one
    call 988 | call nine eight eight
    text 55555 | text five five five five five
    4242 4242 4242 4242 | four two four two, four two four two, four two four two, four two four two
    $45.50 | forty-five dollars and fifty cents
    $45.00 | forty-five dollars
    $1 | one dollar
    $1.01 | one dollar and one cent
    $0.99 | ninety-nine cents
    50¢ | fifty cents
    €20 | twenty euros
    20 € | twenty euros
    £1.20 | one pound and twenty pence
    $1,234.56 | one thousand two hundred thirty-four dollars and fifty-six cents
    $1.5 million | one point five million dollars
    $5k | five thousand dollars
    US$5 | five US dollars
    45 USD | forty-five dollars
    $20-$30 | twenty to thirty dollars
    $20-30 | twenty to thirty dollars
    $20/hour | twenty dollars per hour
    a $50 deposit | a fifty dollar deposit
    your $20 copay is due | your twenty dollar copay is due
    the $20 is due | the twenty dollars is due
    -$5 | minus five dollars
    May 5 | May fifth
    May 5th, 2026. | May fifth, twenty twenty-six.
    May 2026 | May twenty twenty-six
    Jan 5-7 | January fifth to seventh
    Dec. 25 | December twenty-fifth
    in Dec. | in December.
    5/5/2026 | May fifth, twenty twenty-six
    1/2/80 | January second, nineteen eighty
    13/5/2026 | May thirteenth, twenty twenty-six
    2026-12-25 | December twenty-fifth, twenty twenty-six
    2026-12-25T10:30:00 | December twenty-fifth, twenty twenty-six at ten thirty
    on 12/3 | on December third
    12/25 | December twenty-fifth
    on 5 May | on the fifth of May
    the 3rd of May | the third of May
    in 2005 | in two thousand five
    since 1848 | since eighteen forty-eight
    1905 | nineteen oh five
    2026-2027 | twenty twenty-six to twenty twenty-seven
    the 1990s | the nineteen nineties
    in her 30s | in her thirties
    30s | thirty seconds
    Tues. the 4th | Tuesday the fourth
    Sat and Sun 9-1 | Saturday and Sunday nine to one
    We sat in the Sun. | We sat in the Sun.
    I may 5 | I may five
    50% | fifty percent
    12.5% | twelve point five percent
    10-20% | ten to twenty percent
    5 mg | five milligrams
    1 lb | one pound
    2 hrs | two hours
    500mg/day | five hundred milligrams per day
    10–12 mg | ten to twelve milligrams
    a 30-minute visit | a thirty-minute visit
    30-min | thirty-minute
    30 sq. ft | thirty square feet
    98.6°F | ninety-eight point six degrees Fahrenheit
    5'10" | five foot ten
    5 in the morning | five in the morning
    120/80 | one twenty over eighty
    1/2 | one half
    3/4 cup | three quarters cup
    4/5 of them | four fifths of them
    4/5 stars, rated 4.5/5 | four out of five stars, rated four point five out of five
    9/10 | nine out of ten
    a 30 min. visit, 20 min. away | a thirty minute visit, twenty minutes away
    It weighs 5 mg. It is | It weighs five milligrams. It is
    up to $1,500/yr. | up to one thousand five hundred dollars per year.
    1200 W. 3rd St. in | twelve hundred West third Street in
    my 401(k) | my four oh one K
    The temp. was 101 °F | The temperature was one hundred one degrees Fahrenheit
    a 12x8 cm scan | a twelve by eight centimeter scan
    $.50 or .5 mg | fifty cents or point five milligrams
    closed Sat/Sun. | closed Saturday, Sunday.
    10/10 | ten out of ten
    24/7 | twenty-four seven
    1½ hours | one and a half hours
    4x4 | four by four
    2x a day | two times a day
    2:1 | two to one
    Dr. Patel | Doctor Patel
    See Dr. A. Smith | See Doctor A. Smith
    I saw the Dr. today | I saw the doctor today
    Mr. and Mrs. Lee | Mister and Missus Lee
    St. Mary's | Saint Mary's
    123 Main St. | one twenty-three Main Street.
    12 N. Main St., Apt. 5B | twelve North Main Street, Apartment five B
    456 Lakeshore Dr. is | four fifty-six Lakeshore Drive is
    1420 Main Street | fourteen twenty Main Street
    100 Oak Ave | one hundred Oak Avenue
    Springfield, IL 62704 | Springfield, Illinois, six two seven zero four
    Room 204 | Room two oh four
    Suite 300, 2nd Fl. | Suite three hundred, second Floor.
    your appt is | your appointment is
    e.g. this, i.e. that, etc. | for example this, that is that, et cetera.
    No. 5 | Number five
    No. I can't. | No. I can't.
    w/ Dr. Lee | with Doctor Lee
    approx. 5 lbs. | approximately five pounds.
    info@brightsmile.com | info at brightsmile dot com
    24care@x.com | twenty-four care at x dot com
    jo.smith24@a-b.co.uk | jo dot smith twenty-four at a dash b dot co dot U K
    https://www.BrightSmile.com/book?id=5. | Bright Smile dot com slash book.
    brightsmile.com. | brightsmile dot com.
    Smith & Sons | Smith and Sons
    AT&T | AT and T
    #3 | number three
    #A12 | number A twelve
    #teeth | hashtag teeth
    press # | press pound
    1st | first
    21st–23rd | twenty-first to twenty-third
    1,234 | one thousand two hundred thirty-four
    1,000,000 | one million
    12,345,678,901,234,567 | one two three four five six seven eight nine zero one two three four five six seven
    12345 | one two three four five
    12000 | twelve thousand
    007 | zero zero seven
    0.5 | zero point five
    3.14 | three point one four
    1.2.3 | one point two point three
    -5 degrees | minus five degrees
    ~10 | about ten
    >= 5 | at least five
    ending in 4242 | ending in four two four two
    code is 4821 | code is four eight two one
    Invoice #00423 | Invoice number zero zero four two three
    1200 patients | one thousand two hundred patients
    B12 | B twelve
    A1C | A one C
    X7K92Q | X seven K nine two Q
    HF-20931 | HF-two zero nine three one
    COVID-19 | COVID-nineteen
    5G | five G
    (9 AM) "5" | (nine AM) "five"
    C++ | C++
    twenty-four hours, ten o'clock | twenty-four hours, ten o'clock
"""
ROWS = [tuple(cell.strip() for cell in line.split(" | ")) for line in TABLE.strip().splitlines()]
ENGLISH = Diction()


@pytest.mark.parametrize(("written", "said"), ROWS)
def test_what_is_written_short_is_said_in_words(written: str, said: str) -> None:
    assert ENGLISH.spoken(written).text == said


@pytest.mark.parametrize("said", [row[1] for row in ROWS])
def test_what_is_said_is_said_again_the_same(said: str) -> None:
    assert ENGLISH.spoken(said) == Spoken(text=said)


@pytest.mark.parametrize(
    ("written", "counts"),
    [
        ("We open at nine.", ()),
        ("Dr. Patel", ()),
        ("at 10:30 AM, ok", (1, 3, 0, 1)),
        ("May 5, 2026 is", (4, 0, 0, 1)),
        ("May 5 is", ()),
        ("call +1 (555) 010-0002.", (1, 10, 0, 0)),
        ("  $45.50  it\nis ", (5, 1, 1)),
        ("AT&T 5", (3, 1)),
        ("", ()),
        ("Mon-Fri 9-5", (3, 3)),
    ],
)
def test_words_are_counted_for_each_written_one(written: str, counts: tuple[int, ...]) -> None:
    assert ENGLISH.spoken(written).counts == counts


def test_what_was_heard_is_told_in_written_words() -> None:
    written = _words("Come on May 5, 2026 at 10:30 AM please")
    spoken = ENGLISH.spoken(" ".join(written))
    words = spoken.text.split()
    assert words == _words("Come on May fifth, twenty twenty-six at ten thirty AM please")
    assert [heard(written, spoken.counts, count) for count in range(len(words) + 1)] == [
        *(0, 1, 2, 2, 2, 2, 5, 6, 6, 6, 8, 9),
    ]


@pytest.mark.parametrize(
    ("language", "written", "said"),
    [
        ("en-GB", "5/6/2026", "June fifth, twenty twenty-six"),
        ("en-US", "5/6/2026", "May sixth, twenty twenty-six"),
        ("de", "45,50 € und 20 %", "fünfundvierzig Euro und fünfzig Cent und zwanzig Prozent"),
        ("de-AT", "am 5. Mai um 10:30, 3 Leute", "am 5. Mai um 10:30, drei Leute"),
        ("de", "seit 1990, 1.234 Stück", "seit 1990, eintausendzweihundertvierunddreißig Stück"),
        ("fr", "20 €, 3,5", "vingt euros, trois virgule cinq"),
        ("es-MX", "$45.50", "cuarenta y cinco dólares con cincuenta centavos"),
        ("es", "info@a.es", "info arroba a punto es"),
        ("it", "12", "dodici"),
        ("nl", "€ 20,50", "twintig euro, vijftig cent"),
        ("pl", "20%", "dwadzieścia procent"),
        ("pt-BR", "12 e R$ 20", "doze e R$ 20"),
        ("de", "0611 447 100", "null sechs eins eins, vier vier sieben, eins null null"),
        ("ja", "12 & $5", "12 & $5"),
    ],
)
def test_other_languages_have_their_own_words(language: str, written: str, said: str) -> None:
    assert Diction(language=language).spoken(written).text == said


def test_nothing_is_written_out_for_a_tenant_that_wants_it_left() -> None:
    assert Diction(normalise=False).spoken("Dr. Patel, 10:30") == Spoken(text="Dr. Patel, 10:30")


class TestPronunciations:
    DICTION = Diction(
        pronunciations={
            "Nguyen": "win",
            "nguyen kim": "win keem",
            "xylitol": "zylitol gum",
            "Polish": "Poe-lish",
            "brightsmile": "bright smile",
            "24/7 Care": "Care",
            "C++": "sea plus plus",
        }
    )

    @pytest.mark.parametrize(
        ("written", "said"),
        [
            ("Dr. Nguyen, 5 PM", "Doctor win, five PM"),
            ("Nguyen  Kim", "win keem"),  # the longest first, in any case
            ("NGUYEN", "NGUYEN"),  # written with a capital: as it is written
            ("Xylitol, XYLITOLS", "zylitol gum, XYLITOLS"),  # whole words
            ("polish the Polish one", "polish the Poe-lish one"),
            ("24/7 Care 24/7", "Care twenty-four seven"),  # before anything else
            ("info@brightsmile.com", "info at bright smile dot com"),
            ("C++.", "sea plus plus."),
        ],
    )
    def test_a_tenants_own_spelling_is_used(self, written: str, said: str) -> None:
        assert self.DICTION.spoken(written).text == said

    def test_the_words_are_counted(self) -> None:
        assert self.DICTION.spoken("Buy xylitol from Nguyen Kim for $5").counts == (1, 2, 1, 1, 1, 1, 2)
        assert self.DICTION.spoken("24/7 Care is").counts == (1, 0, 1)

    def test_they_are_used_where_nothing_else_is(self) -> None:
        assert Diction(normalise=False, pronunciations={"5": "high five"}).spoken("5 or 6").text == "high five or 6"
        assert Diction(language="ja", pronunciations={"5": "go"}).spoken("5 or 6").text == "go or 6"

    def test_an_empty_one_is_none(self) -> None:
        assert Diction(pronunciations={" ": "x"}).spoken("a b") == Spoken(text="a b")

    def test_what_they_give_is_not_written_out(self) -> None:
        assert Diction(pronunciations={"route": "Rt. 5"}).spoken("route 5").text == "Rt. 5 five"


_SIGNS = "0123456789:/.,-–$€%#&@'\"()+ \n½°amApPMStDrhx"
TEXTS = st.one_of(
    st.text(max_size=60),
    st.text(alphabet=_SIGNS, max_size=40),
    st.lists(st.sampled_from([word for row in ROWS for word in row[0].split()]), max_size=12).map(" ".join),
)
PLAIN = st.lists(
    st.sampled_from(_words("we can see you then if that works for your son no sir it is a may march sun second fine")),
    max_size=12,
).map(" ".join)
LANGUAGES = st.sampled_from(["en", "en-GB", "de", "es", "es-mx", "fr", "it", "nl", "pl", "pt", "ja"])


@given(text=TEXTS, language=LANGUAGES)
def test_any_text_is_spoken_and_its_words_are_counted(text: str, language: str) -> None:
    spoken = Diction(language=language, pronunciations={"pm": "in the afternoon", "5": "V"}).spoken(text)
    counts = spoken.counts or (1,) * len(text.split())
    assert len(counts) == len(text.split())
    assert sum(counts) == len(spoken.text.split())


@given(text=TEXTS)
def test_no_digit_is_left_to_the_voice(text: str) -> None:
    assert not re.search("[0-9]", ENGLISH.spoken(text).text)


@given(text=PLAIN, end=st.sampled_from([".", "?", "!", ",", ""]))
def test_prose_is_left_as_it_is(text: str, end: str) -> None:
    assert ENGLISH.spoken(text + end) == Spoken(text=text + end)


@given(number=st.integers(0, 10**15 - 1))
def test_a_number_with_its_commas_is_read_as_one(number: int) -> None:
    said = ENGLISH.spoken(f"about {number:,} of them").text
    assert said == f"about {english.cardinal(number)} of them"


def test_a_number_too_long_to_be_one_is_read_digit_by_digit() -> None:
    assert ENGLISH.spoken("1" * 5000).text == " ".join(["one"] * 5000)

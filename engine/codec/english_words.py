"""Tables of English: what is written short, and the words that are said for it."""

from collections.abc import Mapping
from typing import Final


def _words(text: str) -> list[str]:
    return text.split()


def _table(text: str) -> dict[str, str]:
    """Return a table from lines of "key key: what is said"; `_` in a key is a space."""
    rows = (line.strip().rpartition(": ") for line in text.strip().splitlines())
    return {key.replace("_", " "): said for keys, _, said in rows for key in keys.split()}


DIGITS: Final = dict(zip("0123456789", _words("zero one two three four five six seven eight nine"), strict=True))

# ── the calendar ──

MONTHS: Final = _words("January February March April May June July August September October November December")
MONTH_OF: Final = {name[:3]: name for name in MONTHS} | {"Sept": "September"} | {name: name for name in MONTHS}
DAY_OF: Final = _table("""
    Mon Monday: Monday
    Tue Tues Tuesday: Tuesday
    Wed Wednesday: Wednesday
    Thu Thur Thurs Thursday: Thursday
    Fri Friday: Friday
    Sat Saturday: Saturday
    Sun Sunday: Sunday
""")
AMBIGUOUS_NAMES: Final = frozenset(_words("Sat Sun Jan Mar Jun"))
"""Short days and months that are words, or names, of their own."""

# ── money ──

MONEY: Final[Mapping[str, tuple[str, str, str, str]]] = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "", ""),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "CHF": ("Swiss franc", "Swiss francs", "centime", "centimes"),
}
"""Of a sign or code: one and many, and the same of the hundredth, "" where there is none."""

SAME_MONEY: Final = _table("""
    USD: $
    EUR: €
    GBP: £
    JPY: ¥
    INR: ₹
""")
DOLLARS: Final = _table("""
    US$: US
    C$ CA$ CAD: Canadian
    A$ AU$ AUD: Australian
    NZ$ NZD: New Zealand
""")
BIGS: Final = {"k": "thousand", "K": "thousand", "M": "million", "B": "billion"}
PERIODS: Final = _table("""
    h hr hour: hour
    mo month: month
    yr year: year
    wk week: week
    min minute: minute
    day: day
    night: night
    visit: visit
    person: person
    session: session
    unit: unit
""")

# ── measures ──

UNITS: Final[Mapping[str, tuple[str, str]]] = {
    unit: (one, many or f"{one}s")
    for unit, said in _table("""
        mg: milligram
        mcg µg μg: microgram
        g: gram
        kg kgs: kilogram
        lb lbs: pound
        oz: ounce
        ml mL: milliliter
        dl dL: deciliter
        L l: liter
        cc: C C/C C
        mg/dL mg/dl: milligram per deciliter/milligrams per deciliter
        mm: millimeter
        cm: centimeter
        m: meter
        km: kilometer
        ft: foot/feet
        in.: inch/inches
        yd yds: yard
        mi: mile
        mph: mile per hour/miles per hour
        km/h kph: kilometer per hour/kilometers per hour
        sq._ft. sq._ft sq_ft sqft ft²: square foot/square feet
        m²: square meter
        gal: gallon
        h hr hrs: hour
        min mins: minute
        s sec secs: second
        ms: millisecond
        yr yrs: year
        mo mos: month
        wk wks: week
        pt pts: point
        °: degree
        °F: degree Fahrenheit/degrees Fahrenheit
        °C: degree Celsius/degrees Celsius
        kB KB: kilobyte
        MB: megabyte
        GB: gigabyte
        TB: terabyte
        Hz: hertz/hertz
        kHz: kilohertz/kilohertz
        W: watt
        kW: kilowatt
        kWh: kilowatt hour
        V: volt
        IU: international unit
        %: percent/percent
    """).items()
    for one, _, many in [said.partition("/")]
}
"""One and many of a unit."""

ABBREVIATED_UNITS: Final = frozenset(
    _words("min mins hr hrs sec secs mi lb lbs oz ft yd yds gal yr yrs mo mos wk wks pt pts")
)
"""Those that may have a full stop which ends no sentence."""

TIGHT_UNITS: Final = frozenset(_words("mo mos mi pt pts m h s g l L V W cc"))
"""Those that are words, or letters of their own: units only right behind the digits."""

PARTS: Final[Mapping[str, tuple[str, str]]] = {
    "2": ("half", "halves"),
    "3": ("third", "thirds"),
    "4": ("quarter", "quarters"),
    "5": ("fifth", "fifths"),
    "6": ("sixth", "sixths"),
    "8": ("eighth", "eighths"),
    "16": ("sixteenth", "sixteenths"),
}
PAIRS: Final = _table("""
    24/7: twenty-four seven
    50/50: fifty fifty
    20/20: twenty twenty
    9/11: nine eleven
""")
VULGAR: Final = _table("""
    ½: a half
    ¼: a quarter
    ¾: three quarters
    ⅓: a third
    ⅔: two thirds
""")

# ── places ──

STREETS: Final = _table("""
    St: Street
    Ave Av: Avenue
    Blvd: Boulevard
    Rd: Road
    Dr: Drive
    Ln: Lane
    Ct: Court
    Pl: Place
    Sq: Square
    Hwy: Highway
    Pkwy: Parkway
    Ter: Terrace
    Cir: Circle
    Ste: Suite
    Apt: Apartment
    Bldg: Building
    Fl: Floor
    Rm: Room
""")
NUMBERED: Final = frozenset(_words("Ste Apt Bldg Rm Hwy"))
"""Those whose number follows them."""

DIRECTIONS: Final = _table("""
    N: North
    S: South
    E: East
    W: West
    NE: Northeast
    NW: Northwest
    SE: Southeast
    SW: Southwest
""")
STATES: Final = _table("""
    AL: Alabama
    AK: Alaska
    AZ: Arizona
    AR: Arkansas
    CA: California
    CO: Colorado
    CT: Connecticut
    DC: D C
    DE: Delaware
    FL: Florida
    GA: Georgia
    HI: Hawaii
    IA: Iowa
    ID: Idaho
    IL: Illinois
    IN: Indiana
    KS: Kansas
    KY: Kentucky
    LA: Louisiana
    MA: Massachusetts
    MD: Maryland
    ME: Maine
    MI: Michigan
    MN: Minnesota
    MO: Missouri
    MS: Mississippi
    MT: Montana
    NC: North Carolina
    ND: North Dakota
    NE: Nebraska
    NH: New Hampshire
    NJ: New Jersey
    NM: New Mexico
    NV: Nevada
    NY: New York
    OH: Ohio
    OK: Oklahoma
    OR: Oregon
    PA: Pennsylvania
    RI: Rhode Island
    SC: South Carolina
    SD: South Dakota
    TN: Tennessee
    TX: Texas
    UT: Utah
    VA: Virginia
    VT: Vermont
    WA: Washington
    WI: Wisconsin
    WV: West Virginia
    WY: Wyoming
""")

# ── telephones ──

ONE_DIGIT_COUNTRIES: Final = frozenset("17")
TWO_DIGIT_COUNTRIES: Final = frozenset(
    _words("""
    20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 90
    91 92 93 94 95 98
""")
)
SHORT_TELEPHONES: Final = frozenset(_words("112 211 311 411 511 611 711 811 911 988 999"))

# ── addresses ──

TOP_LEVEL: Final = _words("""
    com org net edu gov info io co health care clinic dental app dev us uk ca biz me ai eu de au ie nz
""")
SPELT_DOMAINS: Final = frozenset(_words("uk us au nz eu io ie"))
IN_AN_ADDRESS: Final = {".": "dot", "/": "slash", "-": "dash", "_": "underscore", "+": "plus", "@": "at", ":": "colon"}

# ── signs ──

BEFORE_A_NUMBER: Final = _table("""
    - −: minus
    ~ ≈: about
    <: less than
    >: more than
    ≤ <=: at most
    ≥ >=: at least
    ±: plus or minus
    +: plus
    #: number
""")
SIGNS: Final = _table("""
    &: and
    +: plus
    =: equals
    ×: times
    ÷: divided by
    @: at
    %: percent
""")

# ── abbreviations ──

ABBREVIATIONS: Final = _table("""
    Mr: Mister
    Mrs: Missus
    Ms: Miz
    Prof: Professor
    Rev: Reverend
    Sgt: Sergeant
    Capt: Captain
    Lt: Lieutenant
    Gov: Governor
    Hon: Honorable
    Ft: Fort
    Mt: Mount
    Jr: Junior
    Sr: Senior
    Dept: Department
    dept: department
    Appt: Appointment
    appt: appointment
    appts: appointments
    vs: versus
    Approx: Approximately
    approx: approximately
    Inc: Incorporated
    Corp: Corporation
    Ltd: Limited
    Co: Company
    etc: et cetera
    Tel: Telephone
    tel: telephone
    Ext: Extension
    ext: extension
    No: Number
    no: number
    Nos: Numbers
    nos: numbers
    incl: including
    avg: average
    govt: government
    Mgr: Manager
    mgr: manager
    temp: temperature
    esp: especially
    misc: miscellaneous
    ave: avenue
    blvd: boulevard
    apt: apartment
    bldg: building
    mins: minutes
    hrs: hours
    secs: seconds
    yrs: years
    wks: weeks
    lbs: pounds
    DOB: date of birth
""")
NEEDS_STOP: Final = frozenset(
    _words("""
    Rev Gov Hon Capt Prof Ft Co Inc Corp Ltd Sr Jr No no Nos nos Tel tel Ext ext temp esp apt ave incl etc
""")
)
"""Those that, without a full stop, are words of their own, or said well as they are."""

BEFORE_A_NAME: Final = frozenset(_words("Mr Mrs Ms Prof Rev Sgt Capt Lt Gov Hon Ft Mt"))
BEFORE_DIGITS: Final = frozenset(_words("No no Nos nos Ext ext"))

PHRASES: Final = _table("""
    e.g. eg.: for example
    i.e.: that is
    w/o: without
    w/: with
    b/c: because
    n/a: not applicable
    and/or: and or
    he/she: he or she
    she/he: she or he
    a.k.a.: also known as
    c/o: care of
    p.o.: P O
    d.o.b.: date of birth
""")

STARTERS: Final = frozenset(
    _words("""
    a all also an and any are as at because but by can could did do does for from great has have he here how i if in is
    it just let many may my no now of ok okay on one or our perfect please shall she should so some sorry sure thank
    thanks that the their then there these they this those to was we well were what when where which who why will with
    would yes you your
""")
)
"""Of words with a capital, those that begin a sentence; a name does not."""

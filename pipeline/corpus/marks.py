"""The marks that cutters of recordings leave at a name's end: "_0.0_1.0", "chunk12", "part 3 of 7", "-Take2", "_03"."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

GAP = r"[-_. ,+~#@=]"
#: Characters of the longest mark that is looked for.
LONGEST = 64

NUMBER = r"\d+(?:[.,]\d+)?"
#: Where a mark that begins with a word may begin: behind a gap or a digit, or as "gardenTake2" has it.
BORDER = rf"(?:^|{GAP}+|(?<=\d)|(?-i:(?<=[a-z])(?=[A-Z])))"
OPEN = rf"(?:^|{GAP}+)"
UNIT = r"(?:milliseconds?|millis|msecs?|ms|seconds?|secs?|s|samples|smp|frames)(?![a-z])"
#: "10s", "5000ms", "0.5 sec"; "1m30s", "00h_01m_30s", "000m_10s_25h" (mp3splt); "0:01:30.5".
TIME = (
    rf"(?:{NUMBER}[-_ ]?{UNIT}|\d+[hm][-_. ]?(?:\d+m[-_. ]?)?\d+(?:[.,]\d+)?s?(?:[-_. ]?\d+h)?(?!\w)|"
    r"\d\d?:\d\d(?::\d\d)?(?:[.,]\d+)?)"
)
STARTS, ENDS = (
    r"(?:starts?|from|begin|onset|offset|t|at|ss)",
    r"(?:ends?|to|until|till|stop|offset|dur|len|t)",
)
BETWEEN = rf"(?:{GAP}+|(?=to))(?:{ENDS}{GAP}*)?"
#: Words that only a cutter writes, or whoever makes more of a recording; and such as are written for clips of their own too.
PART = (
    r"(?:chunks?|parts?|pt|pieces?|segments?|seg|slices?|splits?|cuts?|fragments?|frag|sections?|excerpts?|snippets?|"
    r"crops?|windows?|win|blocks?|intervals?|int|regions?|subclips?|augmented|augment|aug)"
)
COUNTED = r"(?:takes?|copy|clips?|samples?|tracks?|tr|channels?|ch|mic|events?|occurrences?|occ|no|nr|num|idx|index|v|version|frames?)"


def compiled(*patterns: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)


#: Only pieces end so: ranges of time, and with them what looks like a date but is none.
RANGES = compiled(
    rf"{BORDER}(?:{STARTS}{GAP}*)?{TIME}{BETWEEN}{TIME}$",
    rf"{OPEN}(?:{STARTS}{GAP}*)?\d+[.,]\d+{BETWEEN}\d+[.,]\d+(?:[-_ ]?{UNIT})?$",
    rf"{BORDER}{STARTS}{GAP}*{NUMBER}{GAP}*{ENDS}{GAP}*{NUMBER}$",
    rf"{OPEN}{NUMBER}[-_ ]*to[-_ ]*{NUMBER}$",
)

#: Only pieces end so: one of several that are counted, or one time.
PARTS = compiled(
    rf"{BORDER}(?:(?:{PART}|{COUNTED}){GAP}*)?\d+{GAP}*(?:out{GAP}*)?of{GAP}*\d+$",
    rf"{BORDER}{PART}{GAP}*\d+$",
    rf"{OPEN}(?:{STARTS}{GAP}*)?{TIME}$",
    rf"{BORDER}(?:starts?|onset|offset){GAP}*{NUMBER}$",
)

#: Only pieces begin so: "part3_garden".
FIRST = re.compile(rf"^{PART}{GAP}*\d+(?:{GAP}*of{GAP}*\d+)?{GAP}+(?=.*[^\W\d_])", re.IGNORECASE)

#: One number, which may count pieces or clips of their own.
NUMBERS = compiled(
    rf"{BORDER}{COUNTED}{GAP}*\d+$",
    rf"{OPEN}00([-.:])[0-5]\d\1[0-5]\d$",  # a place in the first hour, sooner than a time of day
    r"[-_ @=+~#]+\d+[.,]\d+$",
    rf"{GAP}+\d+$",
)

#: What stands in brackets at the end, some number in it: " (1)", "[0.0-1.0]".
BRACKETS = re.compile(r"[-_. ]*[\[({<]\s*([^][(){}<>]*\d[^][(){}<>]*?)\s*[\])}>]$")

#: Two whole numbers, maybe with a unit; and one that is glued to the name.
PAIR = re.compile(rf"[-_ ]+(\d+)[-_ ]+(\d+)(?:[-_ ]?{UNIT})?$", re.IGNORECASE)
GLUED = re.compile(r"(?<=[^\W\d_])\d{2,}$")

COPY = re.compile(rf"{GAP}+\(?(?:copy|kopie|copie|copia)(?:{GAP}*\(?\d+\)?)?\)?$", re.IGNORECASE)
SIDES = {"l": "r", "r": "l", "left": "right", "right": "left"}
SIDE = re.compile(rf"(?<=.){GAP}(?:{'|'.join(SIDES)})$", re.IGNORECASE)

#: A date at a name's end, maybe with a time, or a time of day: its numbers count no pieces.
DATE = re.compile(
    r"(?:19|20)\d\d([-_.]?)\d\d\1\d\d(?:[-_. T]+\d\d[-_.:h]?\d\d(?:[-_.:m]?\d\d)?[sZ]?)?$"
    r"|(?<!\d)(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?$"
    r"|(?<!\d)\d\d([-_.])\d\d\2(?:19|20)\d\d$"
    r"|(?<!\d)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[-_](?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?$"
    r"|(?<!\d)(?:0[1-9]|1\d|2[0-3])([-.])[0-5]\d\3[0-5]\d$"
    r"|(?<!\d)1\d{9}(?:\d{3})?$"  # seconds or milliseconds since 1970
)
#: "00.01.30-00.01.35": two times with the same gaps in them.
CLOCKS = re.compile(rf"{OPEN}(\d\d([-.:_])\d\d\2\d\d)(?:[-_ ]+|[-_ ]*to[-_ ]*)(\d\d\2\d\d\2\d\d)$")


@lru_cache(maxsize=1 << 17)  # a corpus' names are looked at by several of its readers
def without(stem: str, kind: str = "") -> tuple[str, bool]:
    """A name without the marks of a piece, and whether one of them was such as only pieces have.

    "garden_0.0_1.0" → ("garden", True); "garden_03" → ("garden", False); a name that is nothing but a mark → "".
    ``kind``: the class, which labels write behind the mark: "garden_0.0_1.0_dog".
    """
    forms = [stem]
    if kind and stem.lower().endswith(kind.lower()):
        forms.append(stem[: len(stem) - len(kind)].rstrip("-_. "))
    text, sure = next((mark for mark in map(without_sure, forms) if mark[1]), (stem, False))
    if not sure:
        text, sure = next((mark for mark in map(without_number, forms) if mark), (stem, False))
    if shorter := FIRST.match(text):
        return text[shorter.end() :], True
    return text, sure


def without_sure(text: str) -> tuple[str, bool]:
    """As ``without``, of the marks that only pieces have; several in a row are taken away."""
    sure = False
    while any(map(str.isdigit, text[-LONGEST:])) and (start := sure_mark(text)) is not None:
        text, sure = text[:start], True
    return text, sure


def without_number(text: str) -> tuple[str, bool] | None:
    """As ``without``, of a number at the end, and what is sure before it; None where there is no number, or a date's."""
    text = unbracketed(text)
    mark = None if DATE.search(text) else first(NUMBERS, text)
    return without_sure(text[: mark.start()]) if mark else None


def sure_mark(text: str) -> int | None:
    """Where such a mark begins at the end of ``text``; None where there is none."""
    plain = unbracketed(text)
    if (clocks := at_end(CLOCKS, plain)) and clocks[1] < clocks[3]:
        return clocks.start()
    if mark := first(RANGES, plain):
        return mark.start()
    if plain != text and (pair := at_end(PAIR, plain)) and int(pair[1]) < int(pair[2]):  # in brackets
        return pair.start()
    mark = None if DATE.search(plain) else first(PARTS, plain)
    return mark.start() if mark else None


def unbracketed(text: str) -> str:
    """ "garden (1)" → "garden_1"."""
    mark = at_end(BRACKETS, text)
    return f"{text[: mark.start()]}_{mark[1]}" if mark and mark.start() else text


def first(patterns: Iterable[re.Pattern[str]], text: str) -> re.Match[str] | None:
    return next((mark for pattern in patterns if (mark := at_end(pattern, text))), None)


def at_end(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """A match that begins in the last ``LONGEST`` characters: long names cost no more than short ones."""
    return pattern.search(text, max(0, len(text) - LONGEST))


def original(stem: str, others: set[str]) -> str:
    """Of a copy's name the original's, of one side's that of both: "garden - Copy", "garden_03 (1)", "garden_L"; else ``stem``.

    ``others``: the names beside it in small letters. "garden_03 (1)" is a copy where there is a "garden_03", "garden_L"
    a side where there is a "garden_R".
    """
    stem = COPY.sub("", stem) or stem
    mark = at_end(BRACKETS, stem)
    if mark and mark[1].isdigit() and stem[: mark.start()].lower() in others:
        return stem[: mark.start()]
    base, _, side = stem.rpartition(stem[mark.start()] if (mark := SIDE.search(stem)) else "\0")
    if side and base and f"{stem[: -len(side)]}{SIDES[side.lower()]}".lower() in others:
        return base
    return stem


def ranges(stems: Iterable[str]) -> dict[str, str]:
    """Of the names that end in two whole numbers which are a range of time: what is before it ("ID_30_40" → "ID").

    All such names of one beginning are looked at together: every first number is below its second and occurs once, both
    are filled up with zeros alike, and they are as long as each other, or each begins where the one before ends, or
    (three and more) they do not overlap. So "r_1_1", "r_1_2", "r_2_1" and "r_2_07" are takes of several recordings.
    """
    groups: dict[str, dict[tuple[str, str], set[str]]] = defaultdict(lambda: defaultdict(set))
    for stem in stems:
        plain = unbracketed(stem)
        if (pair := at_end(PAIR, plain)) and pair.start() and not DATE.search(plain):
            groups[plain[: pair.start()]][pair[1], pair[2]].add(stem)
    return {
        stem: base for base, pairs in groups.items() if are_ranges(pairs) for names in pairs.values() for stem in names
    }


def are_ranges(pairs: Iterable[tuple[str, str]]) -> bool:
    texts = list(pairs)
    if any(len(a) != len(b) and "0" in (a[0] if len(a) > 1 else "", b[0] if len(b) > 1 else "") for a, b in texts):
        return False
    times = sorted((int(a), int(b)) for a, b in texts)
    if len(times) < 2 or any(a >= b for a, b in times) or len({a for a, _ in times}) < len(times):
        return False
    steps = list(pairwise(times))
    lengths = {b - a for a, b in times[:-1]}
    return (
        (len(lengths) == 1 and times[-1][1] - times[-1][0] <= max(lengths))
        or all(one[1] == two[0] for one, two in steps)
        or (len(times) > 2 and all(one[1] <= two[0] for one, two in steps))
    )


def filled_up(stems: Iterable[str]) -> dict[str, str]:
    """Of the names in one folder with a number glued to them as "garden%03d" does it: what is before it.

    Only where the numbers of a beginning are filled up with zeros to one width (three, or from 0 on) and run on from 0
    or 1 without a gap, and two beginnings have such: "dog001", "dog002" alone are numbered clips.
    """
    groups: dict[str, set[str]] = defaultdict(set)
    for stem in stems:
        if mark := GLUED.search(stem):
            groups[stem[: mark.start()]].add(mark[0])
    run_on = {
        base
        for base, numbers in groups.items()
        if len(numbers) > 1
        and len({len(n) for n in numbers}) == 1
        and (least := min(map(int, numbers))) < 2
        and max(map(int, numbers)) - least + 1 == len(numbers)
        and (least == 0 or len(min(numbers)) > 2)
    }
    if len(run_on) < 2:
        return {}
    return {f"{base}{number}": base for base in run_on for number in groups[base]}

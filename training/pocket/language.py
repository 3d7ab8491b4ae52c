"""The little language of the pocket stories: its words, its sentences, a writer with faults and a reader.

A story is about one name, one object and one place. It has five parts in order (setup, problem, attempt, result, ending), one of six kinds of
problem, and may carry clichés. Everything that the expert judges can be read off the text by `read_story`, which takes any text at all.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

GIRLS = ("Mia", "Anna", "Lily", "Nora", "Rosa", "Ella", "Ivy", "June")
BOYS = ("Tom", "Ben", "Max", "Sam", "Leo", "Finn", "Hugo", "Omar")
NAMES = GIRLS + BOYS

OBJECTS = (
    "key", "lantern", "kite", "drum", "map", "coin", "shell", "bell", "boat", "candle", "basket", "mirror", "whistle", "ribbon", "button",
    "compass", "flute", "teapot", "clock", "feather", "spoon", "rope", "ladder", "scarf", "book", "hat",
)  # fmt: skip
PLACES = (
    "tower", "forest", "harbor", "garden", "bridge", "market", "river", "cave", "meadow", "castle", "mill", "library", "barn", "beach", "village",
    "valley", "station", "lighthouse", "pond", "hill", "tunnel", "bakery", "school", "farm", "chapel",
)  # fmt: skip

# No adjective may occur in a sentence below: the reader takes each of them for decoration.
OBJECT_ADJECTIVES = ("old", "small", "red", "blue", "golden", "bright", "heavy", "worn", "lovely", "smooth")
PLACE_ADJECTIVES = ("quiet", "ancient", "cold", "wide", "misty", "empty", "sunny", "distant", "lonely", "green")
ADJECTIVES = frozenset(OBJECT_ADJECTIVES + PLACE_ADJECTIVES)

STAGES = ("setup", "problem", "attempt", "result", "ending")

SETUPS = (
    "{n} found a {o} near the {p}.",
    "One morning {n} took a {o} to the {p}.",
    "At the {p}, {n} kept a {o} in a box.",
    "{n} carried a {o} along the path to the {p}.",
    "Every day {n} polished the {o} at the {p}.",
    "Near the {p} lived {n}, who owned a {o}.",
    "One evening {n} brought a {o} home from the {p}.",
    "Once a stranger gave {n} a {o} at the {p}.",
    "Grandmother sent {n} to the {p} for a {o}.",
    "For years {n} had wanted a {o} from the {p}.",
)

# kind of problem -> what goes wrong, what is tried, what comes of it
PROBLEMS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "loss": (
        (
            "But the {o} slipped from {his} hand and was gone.",
            "Then the {o} rolled away into the grass.",
            "One day the {o} was missing from its shelf.",
        ),
        ("{n} searched the {p} from end to end.", "So {n} looked under every stone.", "Step by step, {n} followed the tracks."),
        ("There lay the {o}, safe beneath a leaf.", "At last {he} spotted the {o} in the moss.", "Behind a wall {he} found it, wet but whole."),
    ),
    "jam": (
        (
            "Suddenly the {o} got stuck between two rocks.",
            "But the {o} was caught in the roots of a tree.",
            "By bad luck the {o} was wedged under a beam.",
        ),
        ("{n} pulled with both hands.", "With a stick {he} worked at it for an hour.", "So {n} rubbed soap along its sides."),
        ("With a pop the {o} came free.", "Finally the {o} slid out.", "It gave way, and {he} held the {o} again."),
    ),
    "storm": (
        ("Then a storm rolled over the {p}.", "Without warning, rain poured on the {p}.", "Thunder shook the {p} that afternoon."),
        ("{n} hid under a roof and waited.", "Quickly {he} ran for shelter with the {o}.", "To stay dry, {n} crept beneath a cart."),
        ("By sunset the sky was clear again.", "The clouds moved on and left the {p} shining.", "When the rain stopped, birds sang at the {p}."),
    ),
    "dark": (
        ("Soon night fell and the {p} turned black.", "Night came early, and {n} lost the way.", "At dusk the last lamp at the {p} went out."),
        ("{n} lit a fire with dry twigs.", "Calmly {he} struck a match.", "So {n} made a torch from straw."),
        ("Its glow showed {n} the path.", "In the light the {p} seemed friendly.", "Now every step was easy to see."),
    ),
    "thief": (
        ("A crow snatched the {o} and flew off.", "But a fox stole the {o} at noon.", "While {n} slept, a goat dragged the {o} away."),
        ("{n} offered the thief some bread.", "So {n} laid a trail of berries.", "Softly {n} sang until the thief came close."),
        ("The thief dropped the {o} and ate.", "Full and happy, it gave the {o} back.", "In trade {he} got the {o} again."),
    ),
    "break": (
        ("All at once the {o} broke in two.", "A careless step cracked the {o}.", "It fell, and a piece of the {o} snapped off."),
        ("{n} mended it with glue and thread.", "Patiently {he} fitted the parts together.", "So {n} asked the smith for help."),
        ("By evening the {o} was whole again.", "Only a thin line showed where it had split.", "Now the {o} was stronger than before."),
    ),
}

ENDINGS = (
    "From then on {n} kept the {o} close.",
    "{n} walked home from the {p} with a smile.",
    "That night {he} told the whole tale by the fire.",
    "To this day the {o} hangs above {his} door.",
    "Years later {n} still visits the {p}.",
    "{He} gave the {o} to a friend who needed it.",
    "After that, nobody feared the {p}.",
    "And {n} never went to the {p} alone again.",
    "Proudly {n} showed the {o} to everyone.",
)
FLAT_ENDINGS = ("That was all.", "The end.", "Then it was over.", "And everyone lived happily ever after.")
CLICHES = (
    "It was a day like no other.",
    "Time stood still.",
    "{n} could not believe {his} eyes.",
    "Little did {n} know what was to come.",
    "{His} heart skipped a beat.",
    "Only time would tell.",
    "Every cloud has a silver lining.",
    "It was too good to be true.",
    "Good things come to those who wait.",
)
CLICHE_ENDINGS = frozenset({"And everyone lived happily ever after."})

EVAL_PROMPTS = 150
MAX_READ_CHARS = 20_000  # a longer text is read up to here: no story needs more, and a verdict must come soon


@dataclass(frozen=True, slots=True)
class StoryPrompt:
    """One task: `split` is train or eval, `instructions` what the writer is asked for."""

    split: str
    object: str
    place: str
    instructions: str


def instructions_for(object: str, place: str) -> str:
    """The generation prompt with its two words filled in; every object and place starts with a consonant."""
    return f"Write a short story about a {object} and a {place}."


@cache
def prompts() -> tuple[StoryPrompt, ...]:
    """All 650 tasks, 500 train then 150 eval, always the same."""
    pairs = [(o, p) for o in OBJECTS for p in PLACES]
    random.Random(20).shuffle(pairs)
    cut = len(pairs) - EVAL_PROMPTS
    return tuple(StoryPrompt("train" if i < cut else "eval", o, p, instructions_for(o, p)) for i, (o, p) in enumerate(pairs))


# ---------------------------------------------------------------------------------------------------------------- writing


def write_story(rng: random.Random, object: str, place: str, quality: float) -> str:
    """A story about `object` and `place`. `quality` 1 has no faults but a free choice of adjectives, 0 has nearly all of them."""
    fault = 1.0 - quality

    def slips(rate: float) -> bool:
        return rng.random() < rate * fault

    kinds = list(PROBLEMS)
    kind = rng.choice(kinds)
    attempt_kind = rng.choice(kinds) if slips(1.2) else kind
    result_kind = rng.choice(kinds) if slips(1.2) else kind
    ending = rng.choice(FLAT_ENDINGS) if slips(0.8) else rng.choice(ENDINGS)
    sentences = [
        rng.choice(SETUPS),
        rng.choice(PROBLEMS[kind][0]),
        rng.choice(PROBLEMS[attempt_kind][1]),
        rng.choice(PROBLEMS[result_kind][2]),
        ending,
    ]

    if slips(0.5):  # the ending is forgotten
        sentences.pop()
    if slips(0.5):  # a part is forgotten
        sentences.pop(rng.randrange(1, len(sentences) - 1))
    if slips(0.75):  # two parts change places
        i = rng.randrange(len(sentences) - 1)
        sentences[i], sentences[i + 1] = sentences[i + 1], sentences[i]
    for _ in range(4):
        if slips(0.65):
            sentences.insert(rng.randrange(1, len(sentences) + 1), rng.choice(CLICHES))
    # How richly a story is decorated has nothing to do with how well it is made.
    return _fill(rng, sentences, object, place, fault, decoration=rng.choice((0.05, 0.15, 0.3, 0.65)))


def _fill(rng: random.Random, sentences: list[str], object: str, place: str, fault: float, decoration: float) -> str:
    """The sentences with name, object and place filled in; each may turn into another one on the way."""
    count = len(sentences)
    names = _drift(rng, NAMES, rng.choice(NAMES), count, 0.9 * fault)
    objects = _drift(rng, OBJECTS, object, count, 1.1 * fault)
    places = _drift(rng, PLACES, place, count, 1.0 * fault)
    filled = zip(sentences, names, objects, places, strict=True)
    return " ".join(
        fill(s, n, _decorated(rng, o, OBJECT_ADJECTIVES, decoration), _decorated(rng, p, PLACE_ADJECTIVES, decoration)) for s, n, o, p in filled
    )


def _drift(rng: random.Random, choices: tuple[str, ...], word: str, count: int, rate: float) -> list[str]:
    if rng.random() >= rate:
        return [word] * count
    turn = rng.randrange(max(1, count - 2))
    return [word] * turn + [rng.choice(choices)] * (count - turn)


def _decorated(rng: random.Random, noun: str, adjectives: tuple[str, ...], rate: float) -> str:
    words = [noun]
    while len(words) < 3 and rng.random() < rate:
        words.insert(0, rng.choice([a for a in adjectives if a not in words]))
    return " ".join(words)


def fill(template: str, name: str, object: str, place: str) -> str:
    """The template as an English sentence; `object` and `place` may carry adjectives."""
    she = name in GIRLS
    he, his = ("she", "her") if she else ("he", "his")
    text = template.format(n=name, o=object, p=place, he=he, his=his, He=he.capitalize(), His=his.capitalize())
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)


# ---------------------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class Sentence:
    """`stage` is one of STAGES, cliche or other; `kind` the kind of problem (only of problem, attempt and result); `opening` the first word."""

    stage: str
    kind: str
    opening: str
    flat: bool = False
    cliche: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text holds. Names, objects and places are distinct and in order of appearance; `adjectives` and `words` are counts."""

    sentences: tuple[Sentence, ...]
    names: tuple[str, ...]
    objects: tuple[str, ...]
    places: tuple[str, ...]
    adjectives: int
    words: int
    finished: bool


_WORD = re.compile(r"[A-Za-z']+")
_SENTENCE = re.compile(r"[^.!?]+")
_SLOTS = (
    dict.fromkeys(OBJECTS, "o")
    | dict.fromkeys(PLACES, "p")
    | {n.lower(): "n" for n in NAMES}
    | {"he": "he", "she": "he", "his": "his", "her": "his", "him": "his", "an": "a"}
)


def _skeleton(sentence: str) -> str:
    """The sentence without adjectives, its names, nouns and pronouns turned into slots: what all ways to fill a template have in common."""
    words = (w.lower() for w in _WORD.findall(sentence))
    return " ".join(_SLOTS.get(w, w) for w in words if w not in ADJECTIVES)


def templates() -> Iterator[tuple[str, Sentence]]:
    """Every template of the language with what it does in a story (`opening` left empty)."""
    for t in SETUPS:
        yield t, Sentence("setup", "", "")
    for kind, parts in PROBLEMS.items():
        for stage, choices in zip(("problem", "attempt", "result"), parts, strict=True):
            for t in choices:
                yield t, Sentence(stage, kind, "")
    for t in ENDINGS:
        yield t, Sentence("ending", "", "")
    for t in FLAT_ENDINGS:
        yield t, Sentence("ending", "", "", flat=True, cliche=t in CLICHE_ENDINGS)
    for t in CLICHES:
        yield t, Sentence("cliche", "", "", cliche=True)


_BY_SKELETON = {_skeleton(fill(t, "Tom", "key", "tower")): sentence for t, sentence in templates()}
_OTHER = Sentence("other", "", "")


def read_story(text: str) -> Reading:
    """Read any text. A sentence that is none of the language's is `other`; an empty text has no sentences and is unfinished."""
    text = text[:MAX_READ_CHARS]
    words = _WORD.findall(text)
    lowered = [w.lower() for w in words]
    sentences = []
    for part in _SENTENCE.findall(text):
        skeleton = _skeleton(part)
        if skeleton:
            known = _BY_SKELETON.get(skeleton, _OTHER)
            sentences.append(Sentence(known.stage, known.kind, skeleton.split(" ", 1)[0], known.flat, known.cliche))
    return Reading(
        sentences=tuple(sentences),
        names=_distinct(w for w in words if w in NAMES),
        objects=_distinct(w for w in lowered if w in OBJECTS),
        places=_distinct(w for w in lowered if w in PLACES),
        adjectives=sum(w in ADJECTIVES for w in lowered),
        words=len(words),
        finished=bool(sentences) and text.rstrip().rstrip("\"'”’)").endswith((".", "!", "?")),
    )


def _distinct(words: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))

"""Who is asked about which text, where an expert stands for several. The rule is in its options, one of:

{"rule": "audit", "first": ALIAS, "then": ALIAS, "share": 0.1}
    All texts go to the first, and a share of them to the second too, whose verdict stands there.
{"rule": "fallback", "first": ALIAS, "then": ALIAS, "hours": 48}
    People first; what all of them declined, or left when the time is over, goes to the second.
{"rule": "average", "experts": [ALIAS, ALIAS, ...]}
    Every text goes to each, and the mean score counts. An expert may be named twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from random import Random
from typing import Any

from annotation.controls import Asked
from annotation.errors import InvalidSelection
from annotation.models import Batch, Expert

AUDIT_SLOT = 2000
KEYS = {"audit": {"first", "then", "share"}, "fallback": {"first", "then", "hours"}, "average": {"experts"}}
MOST_HOURS = 24 * 90


@dataclass(frozen=True, slots=True)
class Rule:
    """How texts are shared out. `experts` are in the rule's order; `share` is of texts that are audited (0..1)."""

    name: str
    experts: tuple[Expert, ...]
    share: float = 0.0
    hours: float = 0.0

    @property
    def verdicts_per_text(self) -> float:
        """How many verdicts are asked for on a text, on average."""
        return {"audit": 1 + self.share, "average": float(len(self.experts))}.get(self.name, 1.0)

    def ask(self, rollouts: Sequence[int], reviewers: int, rng: Random) -> list[Asked]:
        """The items for `rollouts`: all of them get their first verdict before any gets a second."""
        first = self.experts[0].pk
        if self.name == "average":
            return [Asked(rollout, slot, expert=expert.pk) for slot, expert in enumerate(self.experts) for rollout in rollouts]
        asked = [Asked(rollout, slot, expert=first) for slot in range(reviewers) for rollout in rollouts]
        if self.name == "audit":
            audited = sorted(rng.sample(range(len(rollouts)), round(self.share * len(rollouts))))
            asked += [Asked(rollouts[i], AUDIT_SLOT, expert=self.experts[1].pk) for i in audited]
        return asked


def rule_of(expert: Expert) -> Rule:
    """The rule by which `expert` answers; by itself, unless it is mixed. Raises `InvalidSelection` naming what is wrong with the rule."""
    return read(expert.options) if expert.kind == Expert.Kind.MIXED else Rule("alone", (expert,))


def seen_by(batch: Batch, expert: Expert) -> Batch:
    """The batch as one of those who are asked has it: as its own. For what looks after one expert; not to be saved."""
    seen = copy(batch)
    seen.expert = expert
    return seen


def read(options: Mapping[str, Any]) -> Rule:
    """The rule that options of a mixed expert spell. Raises `InvalidSelection`."""
    name = options.get("rule")
    if name not in KEYS:
        raise InvalidSelection(f"A mixed expert needs a rule: {', '.join(KEYS)}; not {name!r}.")
    if wrong := set(options) - {"rule"} ^ KEYS[name]:
        raise InvalidSelection(f"The rule {name} has {', '.join(sorted(KEYS[name]))}; see to {', '.join(sorted(map(str, wrong)))}.")
    aliases = options["experts"] if name == "average" else [options["first"], options["then"]]
    if not isinstance(aliases, list) or len(aliases) < 2 or not all(isinstance(alias, str) for alias in aliases):
        raise InvalidSelection(f"The rule {name} names two experts or more.")
    known = {expert.alias: expert for expert in Expert.objects.filter(alias__in=aliases)}
    if missing := [alias for alias in aliases if alias not in known]:
        raise InvalidSelection(f"There is no expert {', '.join(missing)}.")
    experts = tuple(known[alias] for alias in aliases)
    if nested := [expert.alias for expert in experts if expert.kind == Expert.Kind.MIXED]:
        raise InvalidSelection(f"{', '.join(nested)} stands for several experts itself; name those.")
    if idle := [expert.alias for expert in experts if not expert.active]:
        raise InvalidSelection(f"{', '.join(idle)} is not active.")
    share, hours = _number(options, "share", 1), _number(options, "hours", MOST_HOURS)
    if name == "audit" and experts[0] == experts[1]:
        raise InvalidSelection("An audit needs two different experts.")
    if name == "fallback" and (experts[0].kind, experts[1].kind == Expert.Kind.HUMAN) != (Expert.Kind.HUMAN, False):
        raise InvalidSelection("The rule fallback asks people first, and then a language model or a program.")
    return Rule(name, experts, share, hours)


def words(options: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """The rule in words, with `names` for aliases; whether it can be followed is said by `read`."""
    called = [names.get(str(alias), str(alias)) for alias in options.get("experts") or [options.get("first"), options.get("then")]]
    if options.get("rule") == "audit":
        return f"{called[0]}; {options.get('share', 0):.0%} of the texts audited by {called[1]}"
    if options.get("rule") == "fallback":
        return f"{called[0]}; what they decline, or leave for {options.get('hours', 0):g} hours, goes to {called[1]}"
    return f"the mean of {', '.join(called)}" if options.get("rule") == "average" else "no rule"


def _number(options: Mapping[str, Any], name: str, most: float) -> float:
    value = options.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most or (name in options and value == 0):
        raise InvalidSelection(f"{name} is a number above 0 and up to {most:g}, not {value!r}.")
    return float(value)

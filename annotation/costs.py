"""What a verdict costs, what it is expected to cost, and what it can cost at most; nothing here writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db.models import Avg, Count

from annotation.experts import options_of
from annotation.models import Charge, Domain, Expert, Price, Prompt, Rollout
from annotation.routing import rule_of
from grading.types import Case, Judge, Usage

MILLION = Decimal(1_000_000)
RECENT = 200  # charges that an expectation rests on, the latest
ENOUGH = 10  # without which it rests on assumptions instead
CHARACTERS_PER_TOKEN = 4
TRACE_TOKENS = 1500  # of a language model's trace, with what it thinks before it
WORDS_PER_MINUTE = 220  # that a person reads
WRITING_MINUTES = 3  # of a person, for critique and score
TEXT_WORDS = 1000  # where the domain has no rollout yet


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one verdict or of many: dollars, tokens, minutes of people."""

    money: Decimal = Decimal(0)
    tokens: int = 0
    minutes: Decimal = Decimal(0)

    def __mul__(self, times: int) -> Cost:
        return Cost(self.money * times, self.tokens * times, self.minutes * times)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a verdict is expected to cost, and what that rests on, in words."""

    cost: Cost
    basis: str


def price_of(expert: Expert, day: date) -> Price | None:
    """The price that holds on `day`; None where the expert costs nothing, or nobody has said yet what."""
    return Price.objects.filter(name=expert.price, since__lte=day).first() if expert.price else None


def cost(price: Price | None, usage: Mapping[str, Any], minutes: float = 0) -> Cost:
    """Of one verdict with that usage (the fields of `grading.types.Usage`, and `batch` where it came by a provider's batch).

    Batches take a share off what tokens cost. Dollars are rounded up to a millionth, so that sums of many small amounts fall short of nothing.
    """
    counts = {name: int(usage.get(name, 0)) for name in Usage.__dataclass_fields__}
    tokens, spent = sum(counts.values()), round(Decimal(minutes), 2)
    if price is None:
        return Cost(Decimal(0), tokens, spent)
    by_token = (
        price.input * counts["input_tokens"]
        + price.output * counts["output_tokens"]
        + price.cache_read * counts["cache_read_tokens"]
        + price.cache_write * counts["cache_write_tokens"]
    ) / MILLION
    if usage.get("batch"):
        by_token *= 1 - price.batch_discount
    money = by_token + price.per_verdict + price.per_minute * spent
    return Cost(money.quantize(Decimal("0.000001"), rounding="ROUND_UP"), tokens, spent)


def most(price: Price | None, judge: Judge, case: Case) -> Cost | None:
    """No less than a verdict of `judge` on `case` can cost; None where the judge cannot say (it has no method `most`).

    The whole price without a discount, everything read at the dearest of the three prices for reading.
    """
    bound = getattr(judge, "most", None)
    if bound is None:
        return None
    usage: Usage = bound(case)
    full = cost(price, {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens})
    cached = cost(price, {"cache_write_tokens": usage.input_tokens, "output_tokens": usage.output_tokens})
    return max(full, cached, key=lambda found: found.money)


def expected(expert: Expert, domain: Domain, now: datetime) -> Expected:
    """What one verdict of `expert` in `domain` costs as a rule: the mean of its latest charges there, or assumptions."""
    latest = Charge.objects.filter(expert=expert, feedback__item__batch__domain=domain).order_by("-pk")[:RECENT]
    means = {"n": Count("pk"), "money": Avg("money"), "tokens": Avg("tokens"), "minutes": Avg("minutes")}
    found = Charge.objects.filter(pk__in=latest.values("pk")).aggregate(**means)
    price = price_of(expert, now.date())
    if found["n"] >= ENOUGH:
        mean = Cost(found["money"].quantize(Decimal("0.000001")), round(found["tokens"]), round(found["minutes"], 2))
        return Expected(mean, f"the mean of the last {found['n']} verdicts of {expert} in {domain}")
    if expert.kind == Expert.Kind.HUMAN:
        words = _words(domain)
        minutes = words / WORDS_PER_MINUTE + WRITING_MINUTES
        return Expected(cost(price, {}, minutes), f"{words:,} words read at {WORDS_PER_MINUTE} a minute, and {WRITING_MINUTES} minutes to write")
    if expert.kind == Expert.Kind.LLM:
        usage = _assumed(expert, domain)
        by_batch = ", by batch" if usage["batch"] else ""
        return Expected(cost(price, usage), f"{usage['input_tokens']:,} tokens read and {usage['output_tokens']:,} written for each{by_batch}")
    return Expected(cost(price, {}), "a program uses no tokens and nobody's time")


def shared_out(expert: Expert, samples: int) -> dict[Expert, int]:
    """Who is expected to give how many of so many verdicts: `expert`, or those that it stands for. Raises `InvalidSelection` as `rule_of` does."""
    rule = rule_of(expert)
    shares = {"audit": (1.0, rule.share), "average": (1.0,) * len(rule.experts), "fallback": (1.0, 0.0)}.get(rule.name, (1.0,))
    counts: Counter[Expert] = Counter()
    for one, share in zip(rule.experts, shares, strict=True):
        counts[one] += round(samples * share / rule.verdicts_per_text)
    return {one: count for one, count in counts.items() if count}


def estimate(expert: Expert, domain: Domain, samples: int, now: datetime) -> dict[str, Any]:
    """What so many verdicts are expected to cost: `words` to read, and `assumptions`, a sentence for each expert that is asked."""
    total, assumptions = Cost(), []
    for one, count in shared_out(expert, samples).items():
        found = expected(one, domain, now)
        part = found.cost * count
        total = Cost(total.money + part.money, total.tokens + part.tokens, total.minutes + part.minutes)
        priced = f" at the price “{one.price}”" if price_of(one, now.date()) else ", which has no price here"
        assumptions.append(f"{one}: {count:,} verdicts{priced}; {found.basis}.")
    return {"words": words(total), "assumptions": assumptions}


def words(cost: Cost) -> str:
    """A cost as people say it: "about $53, about 11 hours of people"; "" where it is nothing."""
    parts = []
    if cost.money:
        parts.append(
            "less than 1 cent" if cost.money < Decimal("0.01") else f"about ${cost.money:,.0f}" if cost.money >= 10 else f"about ${cost.money:.2f}"
        )
    if cost.minutes:
        hours = cost.minutes / 60
        parts.append(f"about {hours:,.0f} hours of people" if hours >= 10 else f"about {hours:.1f} hours of people")
    return ", ".join(parts)


def _assumed(expert: Expert, domain: Domain) -> dict[str, Any]:
    """What a verdict of a language model uses, by the options of `grading.graders.Grader`; a judge with others is taken to write one trace."""
    options = options_of(expert)
    prompts = options["prompts"] if isinstance(options.get("prompts"), list) else [domain.grading_prompt]
    times = options["n"] if isinstance(options.get("n"), int) else 1
    model = options["model"] if isinstance(options.get("model"), dict) else {}
    read = sum(len(prompt) + _characters(domain) for prompt in prompts) * times // CHARACTERS_PER_TOKEN
    return {"input_tokens": read, "output_tokens": TRACE_TOKENS * len(prompts) * times, "batch": bool(model.get("options", {}).get("batch"))}


def _sample(domain: Domain) -> list[str]:
    return list(Rollout.objects.filter(prompt__domain=domain).order_by("-pk").values_list("content", flat=True)[:50])


def _words(domain: Domain) -> int:
    texts = _sample(domain)
    return sum(len(text.split()) for text in texts) // len(texts) if texts else TEXT_WORDS


def _characters(domain: Domain) -> int:
    texts, prompt = _sample(domain), Prompt.objects.filter(domain=domain).first()
    length = sum(map(len, texts)) // len(texts) if texts else TEXT_WORDS * 6
    return length + (len(prompt.text) if prompt else 0)

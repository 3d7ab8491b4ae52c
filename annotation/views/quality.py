"""How good verdicts are: an expert's own measures in words, and everybody's in a table for admins."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from annotation import quality
from annotation.models import Domain
from annotation.templatetags.touchstone import duration, signed
from annotation.views.guards import admin_only, expert_only
from grading.agreement import FEWEST_FOR_DRIFT
from grading.alignment import Estimate

# Krippendorff, Content Analysis (2nd ed., 2004), chapter 11: rely on 0.8 and more, draw tentative conclusions from 0.667.
RELIABLE, TENTATIVE = 0.8, 0.667


@dataclass(frozen=True, slots=True)
class Reading:
    """One measure for whoever is no statistician: the number, what it means, what is good, and what to do."""

    title: str
    figure: str  # "" where there is too little to say
    sure: str  # how sure it is, and what it rests on
    means: str
    good: str
    verdict: str  # "good", "look", or "" where no judgement is due
    do: str = ""


@expert_only
@require_GET
def own(request: HttpRequest) -> HttpResponse:
    """One's own measures, by domain."""
    cards = [(domain, measures, readings(measures)) for domain, measures in quality.own(request.user)]
    return render(request, "annotation/quality.html", {"cards": cards, "waiting": quality.waiting(request.user)})


@admin_only
@require_GET
def everybody(request: HttpRequest) -> HttpResponse:
    """All raters of one domain: people, language models and programs."""
    domains = quality.domains()
    asked = request.GET.get("domain", "")
    chosen = next((domain for domain in domains if domain.slug == asked), None)
    if asked and chosen is None and not Domain.objects.filter(slug=asked).exists():
        raise Http404
    if not asked and domains:
        chosen = domains[0]
    table = quality.table(chosen) if chosen else None
    context = {"domains": domains, "domain": chosen, "table": table, "most": quality.MOST, "fewest": quality.FEWEST_REPEATS}
    return render(request, "annotation/raters.html", context)


def readings(measures: quality.Measures) -> list[Reading]:
    """What `measures` say, in words for the person that they are about."""
    return [_time(measures), _spread(measures), _gold(measures), _drift(measures), _agreement(measures), _declined(measures), _assisted(measures)]


def _time(measures: quality.Measures) -> Reading:
    low, middle, high = measures.seconds or (0.0, 0.0, 0.0)
    return Reading(
        "Time on a text",
        duration(middle),
        f"half of them from {duration(low)} to {duration(high)}",
        "From opening a text to submitting the verdict.",
        "There is no target. Take what the text needs; a time that suddenly halves or doubles is worth a thought.",
        "",
    )


def _spread(measures: quality.Measures) -> Reading:
    title, means = "Steadiness", "Some texts come to you twice. This is how far your scores of the same text typically lie from their mean."
    spread, texts = measures.spread, measures.texts
    if spread.value is None or measures.repeats_missing:
        return Reading(title, "", _few(spread.samples, quality.FEWEST_REPEATS, "text judged twice", "texts judged twice"), means, "", "")
    good = "Small beside the differences between texts."
    verdict = do = ""
    if texts is not None:
        good = f"At most half of how far your scores of different texts lie apart, which is {texts:.1f}."
        verdict = "good" if spread.value <= texts / 2 else "look"
        do = "" if verdict == "good" else "Score against the anchors of the scale and not against the text before; the guidelines say what they are."
    return Reading(title, f"± {spread.value:.1f}", _sure(spread, "text judged twice", "texts judged twice"), means, good, verdict, do)


def _gold(measures: quality.Measures) -> Reading:
    title, means = "Against known scores", "For a few texts the score is known. This is how much more (+) or less (−) you gave them, on average."
    bias, error = measures.bias, measures.error
    if bias.value is None or bias.low is None or bias.high is None:
        return Reading(title, "", _few(bias.samples, 2, "text with a known score", "texts with a known score"), means, "", "")
    off = f" Whichever way, you were {error.value:.1f} points off." if error.value is not None else ""
    good = "A range with 0 in it: no lean to either side."
    leans = "high" if bias.low > 0 else "low" if bias.high < 0 else ""
    do = f"You score rather {leans}. Compare a few of your verdicts with the anchors in the guidelines." if leans else ""
    sure = _sure(bias, "text", "texts", sign=True)
    return Reading(title, signed(bias.value), sure, means + off, good, "look" if leans else "good", do)


def _drift(measures: quality.Measures) -> Reading:
    title = "Drift"
    means = "Whether your scores rise (+) or fall (−) as you go on, beside known scores or those of others: points in 100 verdicts."
    drift = measures.drift
    if drift.value is None or drift.low is None or drift.high is None:
        few = _few(drift.samples, FEWEST_FOR_DRIFT, "verdict that can be compared", "verdicts that can be compared")
        return Reading(title, "", few, means, "", "")
    moving = drift.low > 0 or drift.high < 0
    do = "Read some of your first verdicts again before you go on: are you as strict as you were?" if moving else ""
    sure = _sure(drift, "verdict", "verdicts", sign=True)
    return Reading(title, signed(drift.value), sure, means, "A range with 0 in it: nothing moves for sure.", "look" if moving else "good", do)


def _agreement(measures: quality.Measures) -> Reading:
    title, alpha, icc = "Agreement with others", measures.alpha, measures.icc
    means = "On texts that others judged too: 1 is full agreement, 0 is what scores dealt out by chance would show (Krippendorff's alpha)."
    if alpha.value is None or alpha.low is None:
        return Reading(title, "", _few(alpha.samples, 2, "text that others judged too", "texts that others judged too"), means, "", "")
    if icc.value is not None:
        means += f" {100 * max(0.0, icc.value):.0f}% of the differences between scores lie in the texts, the rest in who judged (ICC)."
    good = f"{RELIABLE} and more is reliable; from {TENTATIVE} on it can be worked with."
    verdict = "good" if alpha.value >= TENTATIVE else "look"
    do = (
        ""
        if verdict == "good"
        else "Nobody need be wrong. Talk with the others about where the guidelines leave room, so that they can be made clearer."
    )
    return Reading(title, f"{alpha.value:.2f}", _sure(alpha, "text", "texts", digits=2), means, good, verdict, do)


def _declined(measures: quality.Measures) -> Reading:
    share = measures.declined
    means, good = "Texts that you gave on with a reason.", "Declining is right where you cannot judge."
    return Reading("Declined", str(share.count), f"of {share.total} that you decided on", means, good, "")


def _assisted(measures: quality.Measures) -> Reading:
    share = measures.assisted
    means = "Verdicts that you first wrote after you had seen what others said of the text."
    return Reading(
        "After comparing", str(share.count), f"of {share.total} verdicts", means, "They are kept, and left out of the scores measured here.", ""
    )


def _few(there: int, needed: int, one: str, several: str) -> str:
    """Why nothing is said yet. Undefined for want of anything else (all scores the same) is said as such."""
    if there >= needed:
        return "not defined: the scores do not differ"
    return f"too few to say: {there} {one if there == 1 else several} so far, {needed} are needed"


def _sure(estimate: Estimate, one: str, several: str, *, digits: int = 1, sign: bool = False) -> str:
    on = f"{estimate.samples} {one if estimate.samples == 1 else several}"
    if estimate.low is None or estimate.high is None:
        return on
    low, high = (signed(x, digits) if sign else f"{x:.{digits}f}" for x in (estimate.low, estimate.high))
    return f"{low} to {high}, from {on}"

"""The form of a new suite. Whether it makes one is decided by `training.suite.actions`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from django import forms
from django.conf import settings
from django.forms.boundfield import BoundWidget
from django.utils.text import slugify

from annotation.models import Domain, Expert
from training.forms import ExpertChoice, estimate_of
from training.models import Suite
from training.paper import EVERY, PAPER
from training.plan_words import PROTOCOLS
from training.protocol import FINE_TUNED
from training.suite.actions import create_suite
from training.suite.plan import Arm, Base

FIRST = ["pocket-ceiling", "pocket-weak-proxy", "pocket-full-trace"]
MOST_RUNS = 1000


class SuiteForm(forms.Form):
    """Which methods are compared, on what, how often."""

    title = forms.CharField(max_length=160, error_messages={"required": "Give it a title, so that you find it again."})
    name = forms.CharField(
        max_length=40, required=False, label="Name in addresses", help_text="Letters, digits and hyphens. Empty: made from the title."
    )
    domain = forms.ModelChoiceField(Domain.objects.all(), empty_label=None, error_messages={"required": "Choose a domain."})
    expert = ExpertChoice(Expert.objects.filter(active=True), empty_label=None, error_messages={"required": "Choose who gives the ground truth."})
    arms = forms.MultipleChoiceField(
        choices=[(name, f"{PROTOCOLS[plan.protocol][0]} ({name})") for name, plan in EVERY.items()],
        widget=forms.CheckboxSelectMultiple,
        initial=FIRST,
        label="Methods",
        help_text="Each is run with every seed on every base policy, or once: with the first seed on the first base. "
        "The ceiling is what the others are measured against.",
        error_messages={"required": "Tick the ceiling, and what is to be compared with it."},
    )
    once = forms.MultipleChoiceField(choices=[(name, "once only") for name in EVERY], required=False, widget=forms.CheckboxSelectMultiple)
    seeds = forms.CharField(
        max_length=200, initial="1, 2, 3", help_text="Whole numbers with commas. With 3 or more, intervals tell how much seeds matter."
    )
    bases = forms.CharField(
        label="Base policies",
        initial=lambda: str(settings.POCKET_BASE),
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text="Model folders that RL starts from, one a line.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""

    def own_arms(self) -> list[tuple[BoundWidget, BoundWidget]]:
        """For each preset that comes with sizes of our own two boxes: to take it, and to run it once only."""
        return [boxes for preset, boxes in self._boxes() if preset not in PAPER]

    def arms_of_the_paper(self) -> list[tuple[BoundWidget, BoundWidget]]:
        return [boxes for preset, boxes in self._boxes() if preset in PAPER]

    def _boxes(self) -> Iterator[tuple[str, tuple[BoundWidget, BoundWidget]]]:
        return zip(EVERY, zip(self["arms"], self["once"], strict=True), strict=True)

    @property
    def ticks_of_the_paper(self) -> bool:
        return any(box.data["selected"] for box, _ in self.arms_of_the_paper())

    def clean_name(self) -> str:
        typed: str = self.cleaned_data["name"].strip()
        return typed or free_name(self.cleaned_data.get("title", ""))

    def clean_seeds(self) -> list[int]:
        words = [word for word in re.split(r"[\s,]+", self.cleaned_data["seeds"]) if word]
        if not all(re.fullmatch(r"\d{1,10}", word) for word in words):
            raise forms.ValidationError("Seeds are whole numbers, parted by commas: 1, 2, 3.")
        return [int(word) for word in words]

    def clean_bases(self) -> list[Base]:
        paths = [line.strip() for line in self.cleaned_data["bases"].splitlines() if line.strip()]
        return [Base(str(number), path) for number, path in enumerate(paths, 1)]

    def chosen(self) -> list[Arm]:
        """The ticked presets as arms. One that takes a proxy over takes that of the first which teaches one."""
        ticked = self.cleaned_data.get("arms", [])
        teacher = next((arm_name(preset) for preset in ticked if EVERY[preset].protocol in FINE_TUNED), "full-trace")
        arms = []
        for preset in ticked:
            protocol = EVERY[preset].protocol
            main = preset not in self.cleaned_data.get("once", [])
            arms.append(Arm(arm_name(preset), _title(preset, ticked), preset, main=main, after=teacher if protocol == "retrain" else ""))
        return arms

    def estimate(self) -> dict[str, Any]:
        """Expert samples of all its experiments together by purpose, what they would cost, and how many `runs` there are."""
        wrong = [self[name].label for name in ("arms", "once", "seeds", "bases") if name in self.errors]
        if wrong:
            return {"error": f"Cannot be counted yet: see {', '.join(map(str, wrong))}."}
        data = self.cleaned_data
        times = len(data["seeds"]) * len(data["bases"])
        runs = {preset: 1 if preset in data["once"] else times for preset in data["arms"]}
        if sum(runs.values()) > MOST_RUNS:
            return {"error": f"Cannot be counted: these are more than {MOST_RUNS} experiments."}
        plans = [EVERY[preset] for preset, count in runs.items() for _ in range(count)]
        return estimate_of(plans, None, data.get("expert"), data.get("domain")) | {"runs": len(plans)}

    def create(self, owner: Any) -> Suite:
        """Raises `InvalidExperiment`."""
        data = self.cleaned_data
        ceiling = next((arm_name(preset) for preset in data["arms"] if EVERY[preset].protocol == "ceiling"), "ceiling")
        own = {key: data[key] for key in ("name", "title", "domain", "expert", "seeds", "bases")}
        return create_suite(owner=owner, arms=self.chosen(), ceiling=ceiling, **own)

    def take_errors(self, errors: Mapping[str, str]) -> None:
        """Put each message beside its field."""
        for name, message in errors.items():
            self.add_error(name if name in self.fields else "arms", message)


def arm_name(preset: str) -> str:
    return preset.removeprefix("pocket-")[:30]


def _title(preset: str, ticked: list[str]) -> str:
    """What the method is called; where several presets are of one method, with the preset."""
    title = PROTOCOLS[EVERY[preset].protocol][0]
    return title if sum(EVERY[other].protocol == EVERY[preset].protocol for other in ticked) == 1 else f"{title} ({arm_name(preset)})"


def free_name(title: str) -> str:
    """A name from the title that no suite has yet."""
    base = slugify(title)[:36].strip("-") or "suite"
    name, number = base, 1
    while name == "new" or Suite.objects.filter(name=name).exists():
        number += 1
        name = f"{base}-{number}"
    return name

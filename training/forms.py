"""The form of a new experiment. Whether its numbers make sense together is decided by `training.validation`, through `training.actions`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import fields as dataclass_fields
from math import ceil
from typing import Any

from django import forms
from django.conf import settings
from django.db.models import Model
from django.utils import timezone
from django.utils.text import slugify

from annotation import costs
from annotation.errors import InvalidSelection
from annotation.models import Domain, Expert, Prompt
from annotation.routing import rule_of
from training import actions, protocol
from training.models import Experiment, ProxyVersion
from training.paper import EVERY, PAPER
from training.plan_words import CHOICES, GROUPS, PROTOCOLS, TITLES, WORDS, advanced_of, main_of
from training.presets import PRESETS, STRATEGIES, Plan

DEFAULT_PRESET = "pocket-full-trace"
PLAN_TYPES = {field.name: str(field.type) for field in dataclass_fields(Plan)}
OWN = ("title", "name", "domain", "expert", "strategy", "seed", "policy", "proxy")  # kept when another preset is chosen
ASKS_BY_STRATEGY = (*protocol.FINE_TUNED, *protocol.IN_CONTEXT)


class ExpertChoice(forms.ModelChoiceField):
    def label_from_instance(self, obj: Model) -> str:
        return f"{obj} · people" if isinstance(obj, Expert) and obj.kind == Expert.Kind.HUMAN else str(obj)


class VersionChoice(forms.ModelChoiceField):
    def label_from_instance(self, obj: Model) -> str:
        return f"{obj.experiment.title}: {obj}" if isinstance(obj, ProxyVersion) else str(obj)


class ExperimentForm(forms.Form):
    """An experiment's own fields, and one field for every number of its plan that its protocol uses. `viewer` sees proxy versions to take over."""

    preset = forms.ChoiceField(choices=[(name, name) for name in EVERY], widget=forms.HiddenInput)
    title = forms.CharField(max_length=160, error_messages={"required": "Give it a title, so that you find it again."})
    name = forms.CharField(
        max_length=80, required=False, label="Name in addresses", help_text="Letters, digits and hyphens. Empty: made from the title."
    )
    domain = forms.ModelChoiceField(Domain.objects.all(), empty_label=None, error_messages={"required": "Choose a domain."})
    expert = ExpertChoice(Expert.objects.filter(active=True), empty_label=None, error_messages={"required": "Choose who gives the ground truth."})
    strategy = forms.ChoiceField(choices=STRATEGIES, label="Ask the expert about texts chosen")
    sample_budget = forms.IntegerField(required=False, label="Expert samples at most", help_text="Empty: what the plan needs.")
    seed = forms.IntegerField(help_text="The same seed repeats the same choices.")
    policy = forms.CharField(max_length=500, label="Policy", help_text="The model folder that RL starts from.")
    proxy = forms.CharField(
        max_length=500, required=False, label="Proxy", help_text="The model folder that the proxy starts from. Empty: the policy's."
    )

    def __init__(self, *args: Any, viewer: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        method = EVERY[self.chosen].protocol
        self.used = [*main_of(method), *(name for _, names in advanced_of(method) for name in names)]
        for name in self.used:
            self.fields[name] = _plan_field(name)
        if method not in ASKS_BY_STRATEGY:
            del self.fields["strategy"]
        if method == "retrain":
            versions = ProxyVersion.objects.filter(experiment__in=actions.visible_to(viewer), number__gt=1).select_related("experiment")
            self.fields["proxy_version"] = VersionChoice(versions.order_by("-pk"), empty_label=None, label="Proxy version")

    @classmethod
    def from_preset(cls, preset: str, typed: Mapping[str, str], viewer: Any) -> ExperimentForm:
        """An unbound form with the preset's numbers, and what was `typed` in the fields that no preset touches."""
        preset = preset if preset in EVERY else DEFAULT_PRESET
        plan = EVERY[preset].to_dict()
        initial = plan | {"preset": preset, "seed": 1, "policy": str(settings.POCKET_BASE)}
        return cls(initial=initial | {name: typed[name] for name in OWN if name in typed}, viewer=viewer)

    @property
    def chosen(self) -> str:
        """The preset that the form stands on."""
        value = self.data.get("preset") if self.is_bound else self.initial.get("preset")
        return value if value in EVERY else DEFAULT_PRESET

    def groups(self) -> list[dict[str, Any]]:
        """The presets in groups, the main methods first and the paper's numbers last; each preset with its title and what it does."""
        found = []
        for title, words, methods in GROUPS:
            names = sorted((name for name in PRESETS if PRESETS[name].protocol in methods), key=lambda name: methods.index(PRESETS[name].protocol))
            found.append(self._group(title, words, [(name, *_words_of(name)) for name in names]))
        of_the_paper = [(name, name, PROTOCOLS[plan.protocol][0]) for name, plan in PAPER.items()]
        return [*found, self._group("The paper's numbers", "for Qwen3-8B, and for research plans", of_the_paper)]

    def _group(self, title: str, words: str, presets: list[tuple[str, str, str]]) -> dict[str, Any]:
        options = [{"preset": name, "title": own, "words": about, "chosen": name == self.chosen} for name, own, about in presets]
        return {"title": title, "words": words, "options": options, "open": any(option["chosen"] for option in options)}

    def first_estimate(self) -> dict[str, Any]:
        """The estimate before anything was sent: of the preset alone."""
        return self.estimate() if self.is_bound else _estimate(EVERY[self.chosen], None, None, None)

    def choice_fields(self) -> list[forms.BoundField]:
        """How texts are chosen, and the proxy that is taken over, where the protocol does so and there is one."""
        return [self[name] for name in ("strategy", "proxy_version") if name in self.fields and not (name == "proxy_version" and self.lacks_versions)]

    @property
    def lacks_versions(self) -> bool:
        """Whether a proxy version is to be chosen, and there is none."""
        field = self.fields.get("proxy_version")
        return isinstance(field, VersionChoice) and field.queryset is not None and not field.queryset.exists()

    def main_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in main_of(EVERY[self.chosen].protocol)]

    def advanced_fields(self) -> list[tuple[str, list[forms.BoundField]]]:
        return [(title, [self[name] for name in names]) for title, names in advanced_of(EVERY[self.chosen].protocol)]

    @property
    def advanced_is_wrong(self) -> bool:
        return any(name in self.errors for _, names in advanced_of(EVERY[self.chosen].protocol) for name in (*names, "name", "proxy", "policy"))

    def clean_name(self) -> str:
        typed = self.cleaned_data["name"].strip()
        return typed or free_name(self.cleaned_data.get("title", ""))

    def changes(self) -> dict[str, Any]:
        """The plan's fields as filled in."""
        return {name: self.cleaned_data[name] for name in (*self.used, "strategy") if self.cleaned_data.get(name) is not None}

    def estimate(self) -> dict[str, Any]:
        """Expert samples by purpose, in all, and the budget; an `error` instead where the numbers make no plan."""
        wrong = [self[name].label for name in self.used if name in self.errors]
        if wrong:
            return {"error": f"Cannot be counted yet: see {', '.join(map(str, wrong))}."}
        data = self.cleaned_data
        plan = Plan.from_dict(EVERY[self.chosen].to_dict() | self.changes())
        return _estimate(plan, data.get("sample_budget"), data.get("expert"), data.get("domain"))

    def create(self, owner: Any) -> Experiment:
        """Raises `InvalidExperiment`."""
        data = self.cleaned_data
        own = {key: data[key] for key in ("name", "title", "domain", "expert", "preset", "policy", "proxy", "seed", "sample_budget")}
        return actions.create_experiment(owner=owner, actor=owner, changes=self.changes(), proxy_version=data.get("proxy_version"), **own)

    def take_errors(self, errors: Mapping[str, str]) -> None:
        """Put each message beside its field."""
        for name, message in errors.items():
            self.add_error(name if name in self.fields and name != "preset" else None, message)


class ChangeForm(forms.Form):
    """What may change while an experiment with the protocol `method` runs, and why it does."""

    expert = ExpertChoice(Expert.objects.filter(active=True), empty_label=None, help_text="Between rounds: while no verdicts are to come.")
    strategy = forms.ChoiceField(choices=STRATEGIES, label="Ask the expert about texts chosen", help_text="From the next batch on.")
    sample_budget = forms.IntegerField(label="Expert samples at most", help_text="Of all rounds together; what was asked for counts.")
    reason = forms.CharField(max_length=200, label="Why?", error_messages={"required": "Say why; it is kept with the experiment."})

    def __init__(self, *args: Any, method: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        if method not in ASKS_BY_STRATEGY:
            del self.fields["strategy"]


class PromptForm(forms.Form):
    """A grading prompt that a person writes. Whether a grader could answer it is decided by `training.actions`."""

    text = forms.CharField(
        label="The grading prompt",
        help_text="{INSTRUCTIONS} stands for what the writer was asked, {CONTENT} for the text.",
        widget=forms.Textarea(attrs={"rows": 18, "class": "mono", "spellcheck": "false"}),
        error_messages={"required": "Write a prompt."},
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""

    def clean_text(self) -> str:
        return str(self.cleaned_data["text"]).replace("\r\n", "\n")


class StopForm(forms.Form):
    """Why an experiment is stopped."""

    reason = forms.CharField(max_length=200, label="Why?", error_messages={"required": "Say why; it is kept with the experiment."})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""


def _words_of(preset: str) -> tuple[str, str]:
    title, words = PROTOCOLS[PRESETS[preset].protocol]
    return TITLES.get(preset, title), words


def _plan_field(name: str) -> forms.Field:
    label, unit = WORDS[name]
    if name in CHOICES:
        return forms.ChoiceField(choices=CHOICES[name], label=label, help_text=unit)
    kind = forms.FloatField if PLAN_TYPES[name] == "float" else forms.IntegerField
    return kind(label=label, help_text=unit, widget=forms.NumberInput(attrs={"step": "any"}), error_messages={"required": "A number is needed here."})


def free_name(title: str) -> str:
    """A name from the title that no experiment has yet."""
    base = slugify(title)[:70] or "experiment"
    name, number = base, 1
    while Experiment.objects.filter(name=name).exists() or name == "new":
        number += 1
        name = f"{base}-{number}"
    return name


def _estimate(plan: Plan, budget: int | None, expert: Expert | None, domain: Domain | None) -> dict[str, Any]:
    if min(plan.segment, plan.steps, plan.per_prompt) < 1 or plan.steps / plan.segment > 10_000:
        return {"error": "Cannot be counted yet: steps, steps between looks and rollouts of each prompt must be at least 1."}
    return estimate_of([plan], budget, expert, domain)


def estimate_of(plans: Iterable[Plan], budget: int | None, expert: Expert | None, domain: Domain | None) -> dict[str, Any]:
    """Expert samples that all of the plans would take: `parts` by purpose, `total`, the `budget`, and what they would `cost` by `expert`."""
    tasks = 0 if domain is None else domain.prompts.filter(split=Prompt.Split.TRAIN).count()
    counts: Counter[str] = Counter()
    for plan in plans:
        counts.update(protocol.estimate(plan, tasks))
    purposes = {
        "initial": "to teach first",
        "update": "to teach again",
        "validation": "to try prompts on",
        "eval": "to measure",
        "check": "to check",
        "reward": "as reward",
        "control": "at most as hidden repeats and gold items",
    }
    parts = [{"purpose": purposes.get(name, name), "count": count} for name, count in counts.items()]
    total, cost = sum(counts.values()), None
    if expert is not None and domain is not None:
        try:
            total = ceil(total * rule_of(expert).verdicts_per_text)
            cost = costs.estimate(expert, domain, min(total, budget or total), timezone.now())
        except InvalidSelection as exc:
            return {"error": f"Cannot be counted yet: {exc}"}
    return {"parts": parts, "total": total, "budget": budget, "cost": cost}

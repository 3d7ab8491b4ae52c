"""What admins fill in about experts. Whether it makes one is decided by `annotation.experts`, and kept by `annotation.actions`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import Q

from annotation.asking import MOST_TIMES
from annotation.experts import problems
from annotation.forms import Plain
from annotation.models import Domain, Expert
from annotation.quality import FEWEST_REPEATS
from annotation.routing import MOST_HOURS

MOST_TEXTS = 500  # of one measurement of noise
MOST_VERDICTS = 9  # of one expert in a mean


class ExpertForm(forms.ModelForm):
    """An expert as `annotation.actions.save_expert` takes it."""

    class Meta:
        model = Expert
        fields = ["alias", "name", "kind", "backend", "options", "members", "users", "price", "active"]

    backend = forms.ChoiceField(required=False, help_text="For a program or a language model: its entry in settings.EXPERTS.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        known = sorted({*settings.EXPERTS, *([self.instance.backend] if self.instance.backend else [])})
        self.fields["backend"].choices = [("", "none"), *((name, name) for name in known)]  # type: ignore[attr-defined]
        if self.instance.pk:
            self.fields["alias"].disabled = True

    def clean_options(self) -> Any:
        found = self.cleaned_data["options"]
        return {} if found is None else found

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or {}
        if {"alias", "kind", "backend", "options", "active"} <= set(found):
            before = Expert.objects.get(pk=self.instance.pk) if self.instance.pk else None
            for name, message in problems(found, before).items():
                self.add_error(name, message)
        return found


class ExpertPageForm(ExpertForm):
    """The same on the product's own page: people as boxes to tick, a rule in fields of its own, other options as JSON."""

    class Meta(ExpertForm.Meta):
        widgets = {
            "members": forms.CheckboxSelectMultiple,
            "users": forms.CheckboxSelectMultiple,
            "price": forms.TextInput(attrs={"list": "price-names", "autocomplete": "off"}),
            "options": forms.Textarea(attrs={"rows": 4, "spellcheck": "false", "autocomplete": "off"}),
        }
        labels = {"users": "Who may use it"}
        help_texts = {
            "alias": "Short, for rules and commands: letters, digits and dashes. It stays as it is.",
            "options": "What differs from its settings, as JSON.",
            "members": "Whose queue it fills.",
            "users": "In experiments. Nobody ticked: everybody.",
            "active": "An expert who is not active is asked for nothing more.",
        }

    rule = forms.ChoiceField(
        required=False,
        choices=[
            ("audit", "One judges everything, another audits a share"),
            ("fallback", "People first, another if they decline or time is over"),
            ("average", "The mean of several verdicts"),
        ],
    )
    first = forms.ModelChoiceField(Expert.objects.none(), required=False, to_field_name="alias", label="Who is asked first")
    then = forms.ModelChoiceField(Expert.objects.none(), required=False, to_field_name="alias", label="Who comes in")
    percent = forms.FloatField(
        required=False,
        min_value=0.01,
        max_value=100,
        initial=10,
        label="Audited, in %",
        help_text="Of the texts, at random. Where there is an audit its verdict stands.",
    )
    hours = forms.FloatField(
        required=False, min_value=0.01, max_value=MOST_HOURS, initial=48, label="Hours for people", help_text="What they leave goes to who comes in."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        people = get_user_model().objects.filter(is_active=True).order_by("username")
        self.fields["members"].queryset = self.fields["users"].queryset = people  # type: ignore[attr-defined]
        own = self.instance.options if self.instance.kind == Expert.Kind.MIXED and isinstance(self.instance.options, dict) else {}
        averaged = own.get("experts") or []
        # Those that the rule names stay to be seen, whether or not they can be asked now: then it says what is wrong with them.
        named = {str(alias) for alias in [*averaged, own.get("first"), own.get("then")]}
        able = Expert.objects.filter(Q(active=True) | Q(alias__in=named)).exclude(kind=Expert.Kind.MIXED).order_by("name")
        self.fields["first"].queryset = self.fields["then"].queryset = able  # type: ignore[attr-defined]
        self.initial.update({name: own[name] for name in ("rule", "first", "then", "hours") if name in own})
        if isinstance(own.get("share"), int | float):
            self.initial["percent"] = f"{100 * own['share']:g}"
        self.averaged = {f"times_{one.pk}": one.alias for one in able}
        for one in able:
            self.fields[f"times_{one.pk}"] = forms.IntegerField(
                required=False, min_value=0, max_value=MOST_VERDICTS, label=one.name, initial=averaged.count(one.alias)
            )

    @property
    def averaged_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.averaged]

    def clean(self) -> dict[str, Any]:
        """Only what the page shows for the chosen kind and rule counts, and is looked at."""
        found, kind = self.cleaned_data, self.cleaned_data.get("kind")
        shown = self._of_rule() if kind == Expert.Kind.MIXED else () if kind == Expert.Kind.HUMAN else ("backend", "options")
        for name in ("backend", "options", "first", "then", "percent", "hours", *self.averaged):
            if name not in shown:
                self.errors.pop(name, None)
        if kind not in Expert.ALONE:
            found.update(backend="", options={})
        if kind == Expert.Kind.MIXED:
            self._read_rule()
        if kind != Expert.Kind.HUMAN:
            found["members"] = get_user_model().objects.none()
        return super().clean()

    def _of_rule(self) -> Sequence[str]:
        """The fields of the chosen rule."""
        rule = self.cleaned_data.get("rule")
        return tuple(self.averaged) if rule == "average" else ("first", "then", "percent" if rule == "audit" else "hours")

    def _read_rule(self) -> None:
        """Put the rule among the options as `annotation.routing` reads it, unless something in its fields is wrong."""
        found, rule, names = self.cleaned_data, self.cleaned_data.get("rule"), self._of_rule()
        if rule != "average":
            for name in names:
                if not found.get(name) and name not in self.errors:
                    self.add_error(name, "Choose an expert." if name in ("first", "then") else "Say how many.")
        if any(name in self.errors for name in names):
            del found["options"]
        elif rule == "average":
            found["options"] = {"rule": rule, "experts": [self.averaged[name] for name in names for _ in range(found[name] or 0)]}
        else:
            last = {"share": found["percent"] / 100} if rule == "audit" else {"hours": found["hours"]}
            found["options"] = {"rule": rule, "first": found["first"].alias, "then": found["then"].alias} | last

    def add_error(self, field: str | None, error: Any) -> None:
        """What is wrong with the options of several experts stands beside their rule."""
        mixed = field == "options" and self.cleaned_data.get("kind") == Expert.Kind.MIXED
        super().add_error("rule" if mixed else field, error)


class NoiseForm(Plain):
    """How many texts are judged how many times each, to see how far verdicts on the same text lie apart."""

    domain = forms.ModelChoiceField(Domain.objects.all(), empty_label=None)
    texts = forms.IntegerField(min_value=FEWEST_REPEATS, max_value=MOST_TEXTS, initial=20, help_text=f"{FEWEST_REPEATS} to {MOST_TEXTS}, at random.")
    times = forms.IntegerField(
        min_value=2, max_value=MOST_TIMES, initial=3, label="Times each", help_text=f"2 to {MOST_TIMES} verdicts on each text."
    )
    seed = forms.IntegerField(min_value=0, max_value=2**31, initial=0, help_text="The same number chooses the same texts.")
    key = forms.UUIDField(widget=forms.HiddenInput, required=False)  # sent twice, it is one batch

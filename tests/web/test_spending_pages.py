"""Admins limit what verdicts may cost, see who spent what, and say what a verdict costs."""

from __future__ import annotations

import csv
import io
from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from annotation import actions, spending
from annotation.actions import budgets
from annotation.costs import Cost
from annotation.models import AuditEntry, Budget, Charge, Claim, Expert, Feedback, Price
from tests.web import scenery


@pytest.fixture
def ada(signed_in):
    return signed_in("ada")


@pytest.fixture
def batch(scene):
    return scenery.waiting(scene)[1]


def judge(scene, batch, name: str = "edith", minutes: int = 4) -> Feedback:
    """A verdict that took so long."""
    user = scene.people[name]
    (claim,) = actions.claim_next(user=user, batch=batch)
    Claim.objects.filter(pk=claim.pk).update(opened=timezone.now() - timedelta(minutes=minutes))
    return actions.submit_feedback(claim.token, key=str(claim.token), critique="Judged.", score=50, user=user)


def paid(scene) -> None:
    Price.objects.create(name="hourly", since=date(2026, 1, 1), per_verdict=Decimal(2), per_minute=Decimal("0.5"))
    Expert.objects.filter(pk=scene.panel.pk).update(price="hourly")


def text(answer) -> str:
    return " ".join(answer.content.decode().split())


class TestBudgets:
    def test_without_any_the_page_says_what_they_are_for(self, ada):
        assert "Nothing is limited" in text(ada.get("/budgets/"))

    def test_each_says_what_is_spent_reserved_and_left(self, scene, batch, ada):
        actions.set_budget(unit="samples", limit=5, expert=scene.panel)
        judge(scene, batch)
        actions.claim_next(user=scene.people["emil"], batch=batch)
        page = text(ada.get("/budgets/"))
        assert "<dt>spent</dt><dd>1 verdict</dd>" in page
        assert "<dt>reserved now</dt><dd>1 verdict</dd>" in page
        assert "<dt>left</dt><dd>3 verdicts</dd>" in page
        assert "Used up" not in page

    def test_one_that_is_reached_says_so(self, scene, batch, ada):
        actions.set_budget(unit="samples", limit=1, expert=scene.panel)
        actions.set_budget(unit="samples", limit=1, user=scene.people["edith"], hard=False)
        judge(scene, batch)
        page = text(ada.get("/budgets/"))
        assert "Used up" in page
        assert "Reached: it only warns" in page

    def test_one_with_too_little_left_says_so(self, scene, batch, ada):
        paid(scene)
        actions.set_budget(unit="money", limit="0.01", expert=scene.panel)
        assert actions.claim_next(user=scene.people["edith"], batch=batch) == []
        assert "Too little left for one more verdict" in text(ada.get("/budgets/"))

    def test_what_is_reserved_is_reckoned_for_all_as_for_one(self, scene, batch):
        paid(scene)
        edith, emil = scene.people["edith"], scene.people["emil"]
        actions.claim_next(user=edith, batch=batch)
        other = scenery.ledger_batch(scene)
        actions.claim_next(user=emil, batch=other)
        scopes = [{}, {"expert": scene.panel}, {"expert": scene.program}, {"experiment": batch.experiment}, {"user": emil}]
        scopes += [{"expert": scene.panel, "user": edith}, {"experiment": batch.experiment, "user": emil}]
        for unit in Budget.Unit.values:
            for scope in scopes:
                actions.set_budget(unit=unit, limit=100, **scope)
        rewards = actions.select_batch(
            key="r", title="r", domain=scene.domain, expert=scene.program, purpose="reward", rollouts=[], experiment=batch.experiment
        )
        actions.hold_rewards(rewards, 7, Cost(Decimal("0.25"), 10))
        every = list(Budget.objects.all())
        assert budgets.held_by(every) == {budget.pk: budgets.held(budget) for budget in every}
        assert budgets.held_by([budget for budget in every if budget.unit == "money" and budget.experiment and not budget.user_id]).popitem()[1] > 1

    def test_one_is_set_for_what_is_chosen(self, scene, batch, ada):
        page = text(ada.get("/budgets/new/"))
        assert f'<option value="{batch.experiment}">' in page
        scenery.experiment(scene, "rosalind", "asked-nobody-yet", "Later", "pocket-ceiling", scene.program)
        assert '<option value="asked-nobody-yet">' in text(ada.get("/budgets/new/"))
        sent = {"expert": scene.panel.pk, "experiment": batch.experiment, "user": "", "unit": "money", "limit": "$12,50", "hard": "yes"}
        assert ada.post("/budgets/new/", sent)["Location"] == "/budgets/"
        budget = Budget.objects.get()
        assert (budget.expert, budget.experiment, budget.user, budget.limit, budget.hard) == (
            scene.panel,
            batch.experiment,
            None,
            Decimal("12.5"),
            True,
        )
        entry = AuditEntry.objects.get(verb="limited")
        assert (entry.actor.username, entry.data["limit"]) == ("ada", "12.50")

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"limit": "-1"}, "A limit is a number of 0 or more."),
            ({"limit": "many"}, "A limit is a number of 0 or more."),
            ({"limit": "1.5"}, "Verdicts are counted in whole numbers."),
            ({"limit": ""}, "This field is required."),
            ({"unit": "apples"}, "Select a valid choice"),
            ({"experiment": "nowhere"}, "Select a valid choice"),
            ({"hard": ""}, "Choose what happens."),
        ],
    )
    def test_what_is_wrong_is_said_beside_the_field(self, changes, words, ada):
        answer = ada.post("/budgets/new/", {"unit": "samples", "limit": "5", "hard": "yes"} | changes)
        assert (answer.status_code, words in text(answer)) == (422, True)
        assert f'id="id_{next(iter(changes))}_error"' in text(answer)
        assert not Budget.objects.exists()

    def test_the_same_scope_and_unit_again_leads_to_the_limit_there_is(self, scene, ada):
        there = actions.set_budget(unit="samples", limit=5, expert=scene.panel)
        answer = ada.post("/budgets/new/", {"expert": scene.panel.pk, "unit": "samples", "limit": "9", "hard": "yes"})
        assert answer.status_code == 422
        assert f'<a href="/budgets/{there.pk}/">Change that one</a>' in text(answer)
        there.refresh_from_db()
        assert there.limit == 5

    def test_several_experts_by_a_rule_are_not_limited_but_those_they_stand_for(self, scene, ada):
        rule = {"rule": "average", "experts": ["panel", "pocket"]}
        mixed = Expert.objects.create(alias="both", name="Both", kind="mixed", options=rule)
        assert "Both" not in text(ada.get("/budgets/new/"))
        with pytest.raises(Exception, match="stands for several experts"):
            actions.set_budget(unit="samples", limit=5, expert=mixed)

    def test_a_limit_is_changed_and_the_log_says_what_it_was(self, scene, batch, ada):
        budget = actions.set_budget(unit="samples", limit=1, expert=scene.panel)
        judge(scene, batch)
        assert "Used up" in text(ada.get(f"/budgets/{budget.pk}/"))
        assert ada.post(f"/budgets/{budget.pk}/", {"limit": "3", "hard": "no"}).status_code == 302
        budget.refresh_from_db()
        assert (budget.limit, budget.hard, budget.spent) == (3, False, 1)
        page = text(ada.get(f"/budgets/{budget.pk}/"))
        assert "limit was 1<" in page
        assert "does not start such batches again" in page
        assert ada.post(f"/budgets/{budget.pk}/", {"limit": "half", "hard": "no"}).status_code == 422

    def test_ending_one_asks_first(self, scene, ada):
        budget = actions.set_budget(unit="samples", limit=1, expert=scene.panel)
        assert "End this limit?" in text(ada.get(f"/budgets/{budget.pk}/end/"))
        budget.refresh_from_db()
        assert budget.ended is None
        assert ada.post(f"/budgets/{budget.pk}/end/")["Location"] == "/budgets/"
        budget.refresh_from_db()
        assert budget.ended is not None
        assert "Ended" in text(ada.get("/budgets/"))
        assert "it cannot be changed" not in text(ada.get(f"/budgets/{budget.pk}/"))
        assert ada.post(f"/budgets/{budget.pk}/", {"limit": "9", "hard": "yes"}).status_code == 200
        assert Budget.objects.count() == 1

    def test_the_chart_adds_up_what_was_spent_beside_the_limit_of_the_time(self, scene, batch, ada):
        budget = actions.set_budget(unit="samples", limit=5, expert=scene.panel)
        assert ada.get(f"/budgets/{budget.pk}/chart/").json()["times"] == []
        judge(scene, batch)
        judge(scene, batch)
        actions.set_budget(unit="samples", limit=9, expert=scene.panel)
        drawn = ada.get(f"/budgets/{budget.pk}/chart/").json()
        assert drawn["times"] == sorted(drawn["times"])
        assert (drawn["spent"][0], drawn["spent"][-1]) == (0, 2)
        assert (drawn["limit"][0], drawn["limit"][-1]) == (5, 9)
        assert drawn["unit"] == "samples"

    @pytest.mark.parametrize(("age", "most"), [(timedelta(hours=1), 70), (timedelta(days=3), 80), (timedelta(days=300), 310)])
    def test_the_chart_stays_small_however_much_is_charged(self, scene, batch, age, most):
        budget = actions.set_budget(unit="samples", limit=5, expert=scene.panel)
        Budget.objects.filter(pk=budget.pk).update(created=timezone.now() - age)
        judge(scene, batch)
        budget.refresh_from_db()
        drawn = spending.burn(budget, timezone.now())
        assert drawn["spent"][-1] == 1
        assert len(drawn["times"]) <= 5 < most

    def test_the_number_of_queries_does_not_grow_with_the_limits(self, scene, ada, django_assert_max_num_queries):
        for name in ("edith", "emil", "rosalind", "rahel", "olga"):
            for unit in Budget.Unit.values:
                actions.set_budget(unit=unit, limit=5, user=scene.people[name], expert=scene.panel)
        with django_assert_max_num_queries(7):
            assert text(ada.get("/budgets/")).count("<h3>") == 20


class TestTheLedger:
    def test_without_charges_it_says_when_there_will_be_some(self, ada):
        assert "Nothing was charged" in text(ada.get("/spending/"))

    def test_it_adds_up_by_expert_experiment_person_and_month(self, scene, batch, ada):
        paid(scene)
        judge(scene, batch, "edith", 4)
        judge(scene, batch, "emil", 2)
        page = text(ada.get("/spending/"))
        assert "<dd>$7.00</dd>" in page  # two verdicts at $2 and six minutes at $0.50
        row = '<th scope="row">{}</th><td class="num">{}</td><td class="num">{}</td>'
        assert row.format("The panel", "$7.00", 2) in page
        assert row.format(batch.experiment, "$7.00", 2) in page
        assert row.format("edith", "$4.00", 1) in page
        assert row.format("emil", "$3.00", 1) in page
        assert row.format(f"{timezone.localtime():%B %Y}", "$7.00", 2) in page

    def test_a_period_is_of_whole_days_both_within(self, scene, batch, ada):
        judge(scene, batch)
        today = timezone.localdate()
        assert "By expert" in text(ada.get(f"/spending/?since={today}&until={today}"))
        assert "Nothing was charged in this period" in text(ada.get(f"/spending/?until={today - timedelta(days=1)}"))
        assert "Nothing was charged in this period" in text(ada.get(f"/spending/?since={today + timedelta(days=1)}"))
        wrong = ada.get("/spending/?since=someday")
        assert (wrong.status_code, "Enter a valid date" in text(wrong)) == (422, True)

    def test_the_file_has_a_row_for_each_charge(self, scene, batch, ada):
        paid(scene)
        judge(scene, batch, "edith", 4)
        judge(scene, batch, "emil", 2)
        answer = ada.get("/spending/csv/")
        assert answer.streaming
        assert answer["Content-Disposition"] == 'attachment; filename="charges.csv"'
        rows = list(csv.DictReader(io.StringIO(answer.getvalue().decode())))
        assert [(row["person"], Decimal(row["dollars"]), row["price"]) for row in rows] == [("edith", 4, "hourly"), ("emil", 3, "hourly")]
        assert [int(row["feedback"]) for row in rows] == list(Charge.objects.order_by("pk").values_list("feedback", flat=True))
        assert ada.get("/spending/csv/?since=someday")["Location"] == "/spending/?since=someday"
        later = ada.get(f"/spending/csv/?since={timezone.localdate() + timedelta(days=1)}")
        assert len(later.getvalue().decode().splitlines()) == 1

    def test_the_file_is_read_from_the_database_as_it_is_sent(self, scene, batch, django_assert_num_queries):
        judge(scene, batch, "edith")
        judge(scene, batch, "emil")
        rows = spending.as_rows(Charge.objects.all())
        with django_assert_num_queries(0):
            assert next(rows)[0] == "at"
        with django_assert_num_queries(1):
            assert len(list(rows)) == 2

    @pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx"])
    def test_no_field_of_the_file_is_a_formula(self, scene, batch, ada, name):
        judge(scene, batch)
        scene.people["edith"].username = name
        scene.people["edith"].save()
        (row,) = csv.DictReader(io.StringIO(ada.get("/spending/csv/").getvalue().decode()))
        assert row["person"] == f"'{name}"

    def test_the_number_of_queries_does_not_grow_with_the_charges(self, scene, batch, ada, django_assert_max_num_queries):
        for name in ("edith", "emil", "edith", "emil", "edith", "emil"):
            judge(scene, batch, name)
        with django_assert_max_num_queries(8):
            ada.get("/spending/")


class TestPrices:
    sent = {"name": "terse-1", "input": "3", "output": "15", "batch_discount": "0.5"}

    def test_a_price_is_added_and_the_one_that_holds_is_marked(self, ada):
        today = timezone.now().date()
        Price.objects.create(name="terse-1", since=today - timedelta(days=30), input=5, output=25)
        Price.objects.create(name="terse-1", since=today + timedelta(days=30), input=1, output=5)
        assert ada.post("/prices/", self.sent | {"since": str(today)}).status_code == 302
        made = Price.objects.get(name="terse-1", since=today)
        assert (made.input, made.output, made.batch_discount, made.per_verdict) == (3, 15, Decimal("0.5"), 0)
        page = text(ada.get("/prices/"))
        assert "$3 read and $15 written, per million tokens; 50% off by batch" in page
        own = page.split('<th scope="row">terse-1</th>')[1:]
        assert ["to come" in own[0], "holds today" in own[1], "<td>earlier</td>" in own[2]] == [True] * 3
        assert ["holds today" in row.split("</tr>")[0] for row in own] == [False, True, False]
        assert AuditEntry.objects.get(verb="priced").data["input"] == "3"

    def test_a_day_that_is_over_is_taken_only_when_confirmed(self, ada):
        yesterday = {"since": str(timezone.now().date() - timedelta(days=1))}
        answer = ada.post("/prices/", self.sent | yesterday)
        assert (answer.status_code, "That day is over" in text(answer)) == (422, True)
        assert not Price.objects.filter(name="terse-1").exists()
        assert ada.post("/prices/", self.sent | yesterday | {"past": "on"}).status_code == 302

    def test_one_from_the_same_day_is_refused(self, ada):
        today = {"since": str(timezone.now().date())}
        ada.post("/prices/", self.sent | today)
        answer = ada.post("/prices/", self.sent | today | {"input": "4"})
        assert (answer.status_code, "prices are never edited" in text(answer)) == (422, True)
        assert Price.objects.get(name="terse-1").input == 3

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"input": "-3"}, "A price is 0 or more."),
            ({"batch_discount": "50"}, "discount"),
            ({"output": "free"}, "Enter a number."),
            ({"name": " "}, "This field is required."),
            ({"since": "soon"}, "Enter a valid date."),
        ],
    )
    def test_what_is_wrong_is_said_beside_the_field(self, changes, words, ada):
        (field,) = changes
        answer = ada.post("/prices/", self.sent | {"since": str(timezone.now().date())} | changes)
        assert answer.status_code == 422
        said = text(answer).split(f'id="id_{field}_error">')[1].split("</p>")[0]
        assert words in said or field == "batch_discount"
        assert not Price.objects.filter(name="terse-1").exists()

    def test_an_expert_whose_price_is_missing_is_named(self, scene, ada):
        Expert.objects.filter(pk=scene.panel.pk).update(price="hourly")
        assert "“hourly” is named by an expert and has no price that holds today" in text(ada.get("/prices/"))


class TestThePeopleConcerned:
    def test_who_has_reached_their_limit_reads_why_nothing_comes(self, scene, batch, signed_in):
        actions.set_budget(unit="samples", limit=1, user=scene.people["edith"])
        assert "your limit" not in text(signed_in("edith").get("/review/"))
        judge(scene, batch)
        page = text(signed_in("edith").get("/review/"))
        assert "You have reached your limit of 1 verdict; an admin can raise it." in page
        assert "colleagues have the rest open" not in page
        assert "your limit" not in text(signed_in("emil").get("/review/"))

    def test_where_what_is_left_is_too_little_it_is_said(self, scene, batch, signed_in):
        paid(scene)
        actions.set_budget(unit="money", limit="0.5", user=scene.people["edith"], expert=scene.panel)
        signed_in("edith").post("/review/start/", {"batch": batch.pk})
        page = text(signed_in("edith").get("/review/"))
        assert "What is left of your limit of $0.50 for The panel is too little for one more verdict; an admin can raise it." in page

    def test_the_experiment_says_what_its_verdicts_cost(self, scene, batch, signed_in):
        page = f"/experiments/{batch.experiment}/"
        assert "Cost so far" not in text(signed_in("rosalind").get(page))
        paid(scene)
        judge(scene, batch, "edith", 4)
        seen = text(signed_in("rosalind").get(page))
        assert "<span>Cost so far</span><span>$4.00</span>" in seen
        assert "<span>Time of people</span><span>4 min</span>" in seen

    def test_an_admin_finds_the_pages_in_the_navigation(self, ada, signed_in):
        for address in ("/budgets/", "/spending/", "/prices/"):
            assert '<a href="/budgets/" aria-current="page">Budgets</a>' in text(ada.get(address))
        assert '<a href="/experts/" aria-current="page">Experts</a>' in text(ada.get("/experts/"))
        assert "/budgets/" not in text(signed_in("rosalind").get("/experiments/"))

"""Admins set up who can be asked, and measure how steady they are."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from annotation import actions, quality
from annotation.errors import InvalidExpert
from annotation.models import AuditEntry, Batch, Expert, Price
from annotation.tasks import answer_batch
from tests.web import scenery


@pytest.fixture
def ada(signed_in):
    return signed_in("ada")


@pytest.fixture
def texts(scene) -> None:
    """Twelve texts of the pocket domain."""
    scenery.waiting(scene)


def text(answer) -> str:
    return " ".join(answer.content.decode().split())


def fields(**changes) -> dict:
    found = {"alias": "critic", "name": "The critic", "kind": "program", "backend": "pocket", "options": "{}", "price": "", "active": "on"}
    found |= {"rule": "audit", "first": "pocket", "then": "panel", "percent": "10", "hours": "48"}
    return {name: value for name, value in (found | changes).items() if value is not None}


class TestTheList:
    def test_each_is_there_with_what_it_costs_and_who_may_use_it(self, scene, texts, ada):
        Price.objects.create(name="hourly", since=date(2026, 1, 1), per_verdict=Decimal(2))
        actions.save_expert(scene.panel, users=[scene.people["rosalind"]])
        Expert.objects.filter(pk=scene.panel.pk).update(price="hourly")
        (claim,) = actions.claim_next(user=scene.people["edith"])
        actions.submit_feedback(claim.token, key="k", critique="x", score=5, user=scene.people["edith"])
        page = text(ada.get("/experts/"))
        for words in (
            "2 members",
            "$2 a verdict",
            "(price “hourly”)",
            "<dd>$2.00</dd>",
            "May be used by rosalind",
            "May be used by every researcher",
        ):
            assert words in page
        assert page.count('href="/experts/quality/"') == 1

    def test_a_rule_is_told_in_words_and_who_is_not_active_last(self, scene, ada):
        rule = {"rule": "audit", "first": "pocket", "then": "panel", "share": 0.1}
        Expert.objects.create(alias="mixed", name="A mixture", kind="mixed", options=rule)
        Expert.objects.create(alias="gone", name="A former panel", kind="human", active=False)
        page = text(ada.get("/experts/"))
        assert "Pocket critic (a program); 10% of the texts audited by The panel" in page
        assert page.index("A mixture") < page.index("The panel") < page.index("A former panel")

    def test_a_price_that_nobody_has_set_stands_out(self, scene, ada):
        Expert.objects.filter(pk=scene.panel.pk).update(price="hourly")
        assert "No price “hourly” holds today" in text(ada.get("/experts/"))

    def test_the_number_of_queries_does_not_grow_with_the_experts(self, scene, ada, django_assert_max_num_queries):
        for i in range(12):
            made = Expert.objects.create(alias=f"e{i}", name=f"E{i}", kind="human")
            made.members.set([scene.people["edith"], scene.people["emil"]])
            made.users.set([scene.people["rosalind"]])
        with django_assert_max_num_queries(7):
            assert text(ada.get("/experts/")).count("<h2>") == 14

    def test_without_any_it_says_what_one_is_for(self, scene, ada):
        Expert.objects.all().delete()
        assert "No experts yet" in text(ada.get("/experts/"))


class TestSettingUp:
    def test_a_panel_is_made_with_its_members(self, scene, ada):
        people = [scene.people["edith"].pk, scene.people["emil"].pk]
        sent = fields(alias="readers", name="Readers", kind="human", backend="", members=people, users=[scene.people["rosalind"].pk], price="hourly")
        assert ada.post("/experts/new/", sent)["Location"] == "/experts/readers/"
        made = Expert.objects.get(alias="readers")
        assert (sorted(user.username for user in made.members.all()), made.price) == (["edith", "emil"], "hourly")
        entry = AuditEntry.objects.get(verb="made", target=f"expert:{made.pk}")
        assert (entry.actor.username, entry.data["to"]["members"], entry.data["before"]) == ("ada", ["edith", "emil"], None)

    @pytest.mark.parametrize(
        ("changes", "field", "words"),
        [
            ({"backend": ""}, "backend", "Choose who answers"),
            ({"backend": "nothing"}, "backend", "Select a valid choice"),
            ({"options": "{noise: 1}"}, "options", "Enter a valid JSON"),
            ({"options": "[1]"}, "options", "Options are an object such as"),
            ({"options": '{"api_key": "x"}'}, "options", "put keys, tokens and passwords into the settings instead"),
            ({"alias": "quality"}, "alias", "the address of another page"),
            ({"alias": "new"}, "alias", "the address of another page"),
            ({"alias": "panel"}, "alias", "already exists"),
            ({"alias": "two words"}, "alias", "Enter a valid"),
            ({"kind": "mixed", "then": None}, "then", "Choose an expert."),
            ({"kind": "mixed", "first": "nobody"}, "first", "Select a valid choice"),
            ({"kind": "mixed", "percent": ""}, "percent", "Say how many."),
            ({"kind": "mixed", "percent": "101"}, "percent", "less than or equal to 100"),
            ({"kind": "mixed", "first": "pocket", "then": "pocket"}, "rule", "An audit needs two different experts."),
            ({"kind": "mixed", "rule": "fallback", "first": "pocket", "then": "panel"}, "rule", "asks people first"),
            ({"kind": "mixed", "rule": "fallback", "hours": "nan"}, "hours", "Enter a number."),
            ({"kind": "mixed", "rule": "average"}, "rule", "two experts or more"),
        ],
    )
    def test_what_is_wrong_is_said_beside_the_field(self, changes, field, words, scene, ada):
        answer = ada.post("/experts/new/", fields(**changes))
        assert answer.status_code == 422
        assert words in text(answer).split(f'id="id_{field}_error">')[1].split("</p>")[0]
        assert Expert.objects.count() == 2

    def test_a_rule_is_made_from_its_fields_and_shown_in_them(self, scene, ada):
        sent = fields(alias="mixed", kind="mixed", rule="fallback", first="panel", then="pocket", hours="36")
        assert ada.post("/experts/new/", sent).status_code == 302
        assert Expert.objects.get(alias="mixed").options == {"rule": "fallback", "first": "panel", "then": "pocket", "hours": 36}
        page = text(ada.get("/experts/mixed/"))
        assert "The panel; what they decline, or leave for 36 hours, goes to Pocket critic (a program)" in page
        assert "measure each of those" in page
        for chosen in ('value="fallback" selected', 'value="panel" selected', 'value="pocket" selected', 'name="hours" value="36'):
            assert chosen in page
        ada.post("/experts/mixed/", sent | {"rule": "audit", "first": "pocket", "then": "panel", "percent": "12.5"})
        assert Expert.objects.get(alias="mixed").options == {"rule": "audit", "first": "pocket", "then": "panel", "share": 0.125}
        assert 'name="percent" value="12.5"' in text(ada.get("/experts/mixed/"))
        twice = {f"times_{scene.program.pk}": 2, f"times_{scene.panel.pk}": 1}
        ada.post("/experts/mixed/", sent | {"rule": "average", **twice})
        assert Expert.objects.get(alias="mixed").options == {"rule": "average", "experts": ["pocket", "pocket", "panel"]}
        assert f'name="times_{scene.program.pk}" value="2"' in text(ada.get("/experts/mixed/"))

    def test_what_the_page_does_not_show_for_a_kind_is_not_looked_at(self, scene, ada):
        members = [scene.people["edith"].pk]
        hidden = {"options": "{noise", "hours": "-1", "percent": "x", f"times_{scene.panel.pk}": "99"}
        assert ada.post("/experts/new/", fields(alias="readers", kind="human", members=members) | hidden).status_code == 302
        readers = Expert.objects.get(alias="readers")
        assert (readers.backend, readers.options, readers.members.count()) == ("", {}, 1)
        assert ada.post("/experts/new/", fields(alias="again", members=members, percent="x", hours="-1")).status_code == 302
        assert not Expert.objects.get(alias="again").members.exists()

    def test_a_rule_that_cannot_be_followed_any_more_is_said_and_may_be_put_away(self, scene, ada):
        sent = fields(alias="mixed", kind="mixed", rule="average", **{f"times_{one.pk}": 1 for one in (scene.panel, scene.program)})
        ada.post("/experts/new/", sent)
        assert "Nobody can be asked" not in text(ada.get("/experts/mixed/"))
        Expert.objects.filter(pk=scene.program.pk).update(active=False)
        assert "Nobody can be asked by this rule now: pocket is not active." in text(ada.get("/experts/mixed/"))
        assert ada.post("/experts/mixed/", sent).status_code == 422
        assert ada.post("/experts/mixed/", {name: value for name, value in sent.items() if name != "active"}).status_code == 302
        assert not Expert.objects.get(alias="mixed").active

    def test_what_was_before_is_kept_in_the_log(self, scene, ada):
        sent = fields(alias="pocket", name="Pocket critic", options='{"noise": false}', price="cheap", active=None)
        assert ada.post("/experts/pocket/", sent).status_code == 302
        scene.program.refresh_from_db()
        assert (scene.program.name, scene.program.options, scene.program.active) == ("Pocket critic", {"noise": False}, False)
        entry = AuditEntry.objects.get(verb="edited", target=f"expert:{scene.program.pk}")
        assert entry.data["before"] == {"name": "Pocket critic (a program)", "options": {}, "price": "", "active": True}
        assert "name was Pocket critic (a program)" in text(ada.get("/experts/pocket/"))
        ada.post("/experts/pocket/", sent)
        assert AuditEntry.objects.filter(verb="edited").count() == 1  # nothing was changed

    def test_its_alias_stays_and_once_it_was_asked_its_kind_too(self, scene, texts, ada):
        ada.post("/experts/panel/", fields(alias="jury", name="The jury", kind="human", backend=""))
        assert Expert.objects.get(name="The jury").alias == "panel"
        answer = ada.post("/experts/panel/", fields(name="The jury"))
        assert "It has been asked already" in text(answer)
        with pytest.raises(InvalidExpert):
            actions.save_expert(Expert(pk=scene.panel.pk, alias="jury", name="x", kind="human"))

    def test_the_admin_takes_the_same_way(self, scene, ada):
        sent = fields(alias="pocket", name="Renamed", members=[], users=[scene.people["rahel"].pk])
        assert ada.post(f"/admin/annotation/expert/{scene.program.pk}/change/", sent).status_code == 302
        entry = AuditEntry.objects.get(verb="edited")
        assert entry.data["before"] == {"name": "Pocket critic (a program)", "users": []}
        refused = ada.post("/admin/annotation/expert/add/", fields(options='{"token": "x"}'))
        assert "put keys, tokens and passwords into the settings" in text(refused)
        refused = ada.post("/admin/annotation/expert/add/", fields(kind="human"))
        assert "Only a program or a language model has a backend" in text(refused)
        refused = ada.post("/admin/annotation/expert/add/", fields(kind="mixed", backend=""))
        assert "A mixed expert needs a rule" in text(refused)

    def test_a_name_with_markup_is_text(self, scene, ada):
        Expert.objects.filter(pk=scene.panel.pk).update(name=scenery.HOSTILE[:110])
        for address in ("/experts/", "/experts/panel/", "/experts/panel/noise/", "/budgets/new/", "/spending/"):
            assert "<script>window" not in text(ada.get(address))


class TestNoise:
    sent = {"texts": 6, "times": 3, "seed": 4}

    def test_it_says_what_it_costs_before_anybody_is_asked(self, scene, texts, ada):
        Price.objects.create(name="cheap", since=date(2026, 1, 1), per_verdict=Decimal(2))
        Expert.objects.filter(pk=scene.program.pk).update(price="cheap")
        page = text(ada.get("/experts/pocket/noise/", self.sent | {"domain": scene.domain.pk}))
        assert "<b>18 verdicts</b>: <b>about $36</b>" in page
        assert "18 verdicts at the price “cheap”" in page
        assert "it would end early" not in page
        actions.set_budget(unit="money", limit=25, expert=scene.program)
        page = text(ada.get("/experts/pocket/noise/", self.sent | {"domain": scene.domain.pk}))
        assert "have room for 12 of 18 verdicts by Pocket critic (a program): it would end early." in page
        assert not Batch.objects.filter(purpose="calibration").exists()

    def test_a_program_judges_each_text_so_often_and_its_spread_is_shown(self, scene, texts, ada):
        sent = self.sent | {"domain": scene.domain.pk, "key": "0b84ee1e-5fe4-4a3f-8f4e-2f3f4d3f9a10"}
        where = ada.post("/experts/pocket/noise/", sent)["Location"]
        assert ada.post("/experts/pocket/noise/", sent)["Location"] == where  # sent twice it is one batch
        batch = Batch.objects.get(purpose="calibration")
        assert (where, batch.seed, batch.experiment, batch.items.count()) == (f"/batches/{batch.pk}/", 4, "", 18)
        assert batch.items.values("rollout").distinct().count() == 6
        assert "Being measured:" in text(ada.get("/experts/pocket/"))
        assert answer_batch(batch.pk) == 18
        ((domain, spread),) = quality.spreads(scene.program)
        assert (domain, spread.samples) == (scene.domain, 6)
        assert spread.value > 0
        page = text(ada.get("/experts/pocket/"))
        assert f"± {spread.value:.1f} <small>{spread.low:.1f} to {spread.high:.1f}</small>" in page
        assert "from 6 texts judged more than once" in page
        assert f'href="/experts/quality/?domain={scene.domain.slug}"' in page

    def test_a_seed_chooses_the_texts(self, scene, texts, ada):
        chosen = []
        for seed in (4, 4, 5):
            ada.post("/experts/pocket/noise/", self.sent | {"domain": scene.domain.pk, "seed": seed})
            chosen.append(set(Batch.objects.filter(purpose="calibration").latest("pk").items.values_list("rollout", flat=True)))
        assert chosen[0] == chosen[1] != chosen[2]

    def test_of_a_panel_each_verdict_is_somebody_elses(self, scene, texts, ada):
        refused = ada.post("/experts/panel/noise/", self.sent | {"domain": scene.domain.pk})
        assert (refused.status_code, "the panel has 2: ask for at most 2" in text(refused)) == (422, True)
        ada.post("/experts/panel/noise/", self.sent | {"domain": scene.domain.pk, "times": 2})
        batch = Batch.objects.get(purpose="calibration")
        for name, score in (("edith", 40), ("emil", 46)):
            user = scene.people[name]
            while claims := actions.claim_next(user=user, batch=batch):
                actions.submit_feedback(claims[0].token, key=str(claims[0].token), critique="x", score=score, user=user)
        ((_, spread),) = quality.spreads(scene.panel)
        assert (spread.samples, spread.value) == (6, pytest.approx(18**0.5))  # 40 and 46: 3 from their mean, twice, over 1

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"texts": 500}, "There are 12 texts in this domain"),
            ({"texts": 1}, "greater than or equal to 5"),
            ({"times": 1}, "greater than or equal to 2"),
            ({"domain": 0}, "Select a valid choice"),
        ],
    )
    def test_what_is_wrong_is_said_beside_the_field(self, changes, words, scene, texts, ada):
        answer = ada.get("/experts/pocket/noise/", self.sent | {"domain": scene.domain.pk} | changes)
        (field,) = changes
        assert answer.status_code == 422
        assert words in text(answer).split(f'id="id_{field}_error">')[1].split("</p>")[0]

    def test_who_is_not_active_is_not_measured(self, scene, texts, ada):
        Expert.objects.filter(pk=scene.program.pk).update(active=False)
        assert ada.post("/experts/pocket/noise/", self.sent | {"domain": scene.domain.pk}).status_code == 422
        assert not Batch.objects.filter(purpose="calibration").exists()

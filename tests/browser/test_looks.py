"""Every page, light and dark, wide and as a phone: readable by everybody (axe), nothing beside the edge.

SCREENSHOTS=folder leaves pictures there.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from django.db import connection
from django.utils import timezone

from annotation import actions, trials
from annotation.actions import ledger
from annotation.models import Batch, Budget, Expert, Feedback, Item, Price, Prompt, Rollout
from tests.browser.conftest import SCREENS
from tests.web import scenery

pytestmark = pytest.mark.browser

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
WORDS = {
    "critique": (
        "The conceit is exact and the story trusts it: a ledger of small lies, broken by one true entry. Detail is chosen, not piled up "
        "(paraffin, the slant of the hand, the egg). Paragraph three tells us what to feel and breaks the spell."
    ),
    "deliberation": "Strong idea and ending; one slack paragraph.",
    "score": "78",
}


def measured(scene) -> None:
    """A finished batch with repeats and gold items: Edith and the program have judged all of it."""
    rng = Random(7)
    texts = [row.pk for row in scenery.stories(scene, "measured", 0, "train", 10, 4, rng, 0.5)]
    for pk in texts[30:]:
        actions.set_gold(Rollout.objects.get(pk=pk), 60, actor=scene.people["ada"])
    truth = {pk: rng.uniform(20, 80) for pk in texts[:30]}
    for expert in (scene.panel, scene.program):
        batch = actions.select_batch(
            key=f"measured by {expert.alias}",
            title=f"Stories to compare judges by, {expert.name}",
            domain=scene.domain,
            expert=expert,
            purpose="calibration",
            rollouts=texts[:30],
            repeat_share=0.3,
            gold_share=0.3,
        )
        who = {"user": scene.people["edith"]} if expert.kind == "human" else {"expert": expert}
        while claims := actions.claim_next(batch=batch, **who):
            score = min(100, max(0, truth.get(claims[0].item.rollout_id, 66) + rng.gauss(0, 6)))
            actions.submit_feedback(claims[0].token, key=str(claims[0].token), critique="Judged.", score=score, user=who.get("user"))


def paid_for(scene) -> None:
    """Three weeks of verdicts that cost something, under limits of all kinds."""
    rng, now = Random(9), timezone.now()
    begun = now - timedelta(days=21)
    hourly = Price.objects.create(name="readers-2026", since=(begun - timedelta(days=90)).date(), per_verdict=Decimal(3), per_minute=Decimal("0.4"))
    Price.objects.create(name="readers-2026", since=(now + timedelta(days=30)).date(), per_verdict=Decimal("3.5"), per_minute=Decimal("0.4"))
    actions.save_expert(replaced(scene.panel, price="readers-2026"), users=[scene.people["rosalind"]], actor=scene.people["ada"])
    edith, panel = scene.people["edith"], scene.panel
    rule = {"rule": "audit", "first": "pocket", "then": "panel", "share": 0.1}
    actions.save_expert(Expert(alias="audited", name="The program, audited by people", kind="mixed", options=rule), actor=scene.people["ada"])
    limits = [
        actions.set_budget(unit="money", limit=350, expert=panel),
        actions.set_budget(unit="samples", limit=1000, experiment="by-hand", hard=False),
        actions.set_budget(unit="minutes", limit=200, expert=panel, user=scene.people["emil"]),
        actions.set_budget(unit="samples", limit=10, user=scene.people["emil"]),
        actions.end_budget(actions.set_budget(unit="tokens", limit=2_000_000), actor=scene.people["ada"]),
    ]
    Budget.objects.filter(pk__in=[budget.pk for budget in limits[:-1]]).update(created=begun)
    batch = Batch.objects.create(domain=scene.domain, expert=panel, key="paid", title="Paid", purpose="update", experiment="by-hand", closed=now)
    for i, rollout in enumerate(scenery.stories(scene, "paid", 0, "train", 10, 4, rng, 0.5)):
        at = begun + timedelta(hours=12 * i + rng.randrange(9))
        item = Item.objects.create(batch=batch, expert=panel, rollout=rollout, state="done")
        who, started = edith if i % 3 else scene.people["emil"], at - timedelta(minutes=rng.uniform(2, 9))
        verdict = Feedback.objects.create(item=item, expert=panel, author=who, key=f"paid {i}", critique="x", started=started, submitted=at)
        if row := ledger.due(verdict, batch, hourly):
            ledger.charge([row], at)
    actions.set_budget(unit="money", limit=420, expert=panel, actor=scene.people["ada"])


def replaced(expert: Expert, **changes) -> Expert:
    """A copy of the row with other values, not saved yet."""
    found = Expert.objects.get(pk=expert.pk)
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def brought_in(scene) -> None:
    """Texts from elsewhere, which a program has judged and people are to judge."""
    prompts = [prompt.text for prompt in Prompt.objects.filter(domain=scene.domain)[:8]]
    rows = [{"prompt": text, "content": f"Mia had a lantern. Version {i}."} for i, text in enumerate(prompts * 2)]
    actions.import_rollouts(scene.domain, rows, name="elsewhere")
    actions.import_rollouts(scene.domain, rows[:3], name="an earlier model")
    texts = list(Rollout.objects.filter(run="import:elsewhere").values_list("pk", flat=True))
    common = {"domain": scene.domain, "purpose": "imported", "actor": scene.people["rosalind"]}
    done = actions.select_batch(key="imported/1", title="elsewhere: 16 texts", expert=scene.program, rollouts=texts, **common)
    for claim in actions.claim_next(expert=scene.program, batch=done, limit=16):
        actions.submit_feedback(claim.token, key=str(claim.token), critique="x", score=55)
    actions.select_batch(key="imported/2", title="elsewhere: 10 texts", expert=scene.panel, rollouts=texts[:10], reviewers=2, **common)


def tried(scene) -> str:
    """Token of a trial verdict that the program gave to Rosalind."""
    task = "Write a short story about a lantern and a harbour."
    story = "Mia had a lantern. One night a storm came over the harbour. Mia lit the lantern. The boats found the way home."
    token = trials.start(user=scene.people["rosalind"], domain=scene.domain, expert=scene.program, instructions=task, content=story)

    def judge() -> None:
        trials.carry_out(token)
        connection.close()

    with ThreadPoolExecutor(1) as pool:  # a loop is there in this one, and judges are asynchronous
        pool.submit(judge).result()
    return token


def marks(content: str) -> list[actions.Passage]:
    """A strength and a weakness in the story of the ledger."""
    quotes = [("scraped from the page with a knife", "+", "One verb does it."), ("hiding a terrible secret", "-", "Told, not shown.")]
    return [actions.Passage(at := content.index(quote), at + len(quote), quote, sign, comment) for quote, sign, comment in quotes]


@pytest.fixture
def addresses(scene, tmp_path) -> dict[str, tuple[str | None, str]]:
    """Name -> who looks, and where."""
    scenery.running(scene)
    scenery.waiting(scene)
    paid_for(scene)
    brought_in(scene)
    limit = Budget.objects.filter(unit="money")[0]
    scenery.failed(scene, tmp_path / "train-0")
    scenery.prompted(scene)
    scenery.to_be_written(scene)
    scenery.rewritten(scene, tmp_path)
    scenery.experiment(scene, "rosalind", "later", "Ceiling, for comparison", "pocket-ceiling", scene.program)
    measured(scene)
    scenery.compared(scene)
    ready, _ = actions.load_ready("creative-writing", actor=scene.people["rosalind"])
    ready.guidelines += "\n\nTake your time."
    actions.save_domain(ready, actor=scene.people["rosalind"])
    batch = scenery.ledger_batch(scene)
    user = scene.people["edith"]
    (done,) = actions.claim_next(user=user, batch=batch)
    text = done.item.rollout
    verdict = actions.submit_feedback(done.token, key="done", user=user, spans=marks(text.content), **WORDS)
    traces = [{"id": text.pk, "sample": i, "score": score, "critique": "The ledger holds the story together."} for i, score in enumerate((91, 86))]
    actions.record_proxy_grades(text.run, batch.proxy, traces)
    actions.reveal(verdict, user=user)
    why = "The third paragraph is meant to be heard as hers."
    verdict = actions.revise_feedback(verdict, key="again", user=user, reason=why, spans=marks(text.content), **WORDS | {"score": "81"})
    (claim,) = actions.claim_next(user=user, batch=batch)
    spans = [{"start": m.start, "end": m.end, "quote": m.quote, "sign": m.sign, "comment": m.comment} for m in marks(claim.item.rollout.content)]
    actions.save_draft(claim.token, user=user, spans=spans, **WORDS)
    rollout = Rollout.objects.filter(run="stories/sample-0", proxy_grades__isnull=False).order_by("prompt_id", "index")[0]
    return {
        "sign-in": (None, "/sign-in/"),
        "queue": ("edith", "/review/"),
        "review": ("edith", f"/review/{claim.token}/"),
        "verdicts": ("edith", "/review/verdicts/"),
        "verdict": ("edith", f"/review/verdicts/{verdict.pk}/"),
        "revise": ("edith", f"/review/verdicts/{verdict.pk}/revise/"),
        "finished": ("edith", f"/review/finished/{batch.pk}/"),
        "quality": ("edith", "/review/quality/"),
        "quality-none": ("emil", "/review/quality/"),
        "queue-limit": ("emil", "/review/"),
        "budgets": ("ada", "/budgets/"),
        "budget": ("ada", f"/budgets/{limit.pk}/"),
        "budget-new": ("ada", "/budgets/new/"),
        "budget-end": ("ada", f"/budgets/{limit.pk}/end/"),
        "spending": ("ada", "/spending/"),
        "spending-none": ("ada", "/spending/?until=2020-01-01"),
        "prices": ("ada", "/prices/"),
        "experts-list": ("ada", "/experts/"),
        "expert": ("ada", f"/experts/{scene.program.alias}/"),
        "expert-mixed": ("ada", "/experts/audited/"),
        "expert-new": ("ada", "/experts/new/"),
        "expert-noise": ("ada", f"/experts/panel/noise/?domain={scene.domain.pk}&texts=20&times=2&seed=0"),
        "experts": ("ada", f"/experts/quality/?domain={scene.domain.slug}"),
        "batches": ("ada", "/batches/"),
        "batch": ("ada", f"/batches/{batch.pk}/"),
        "batch-close": ("ada", f"/batches/{batch.pk}/close/"),
        "batch-item": ("ada", f"/batches/{batch.pk}/items/{done.item_id}/"),
        "batch-item-reassign": ("ada", f"/batches/{batch.pk}/items/{claim.item_id}/reassign/"),
        "batch-item-gold": ("ada", f"/batches/{batch.pk}/items/{done.item_id}/gold/"),
        "domains": ("rosalind", "/domains/"),
        "domain": ("rosalind", "/domains/creative-writing/"),
        "domain-new": ("rosalind", "/domains/new/"),
        "domain-edit": ("rosalind", "/domains/creative-writing/edit/"),
        "domain-import": ("rosalind", "/domains/creative-writing/import/"),
        "domain-trial": ("rosalind", f"/domains/{scene.domain.slug}/trial/"),
        "domain-imported": ("rosalind", f"/domains/{scene.domain.slug}/"),
        "domain-ask": ("rosalind", f"/domains/{scene.domain.slug}/ask/?run=import:elsewhere&expert={scene.panel.pk}&texts=6&times=2"),
        "domain-ask-stop": ("rosalind", f"/domains/{scene.domain.slug}/ask/{Batch.objects.get(key='imported/2').pk}/stop/"),
        "domain-ask-none": ("rosalind", "/domains/creative-writing/ask/"),
        "domain-verdict": ("rosalind", f"/domains/{scene.domain.slug}/trial/{tried(scene)}/"),
        "account": ("edith", "/account/"),
        "guidelines": ("edith", "/review/guidelines/short-stories/"),
        "missing": ("edith", "/nothing/"),
        "no-role": ("olga", "/"),
        "experiments": ("rosalind", "/experiments/"),
        "experiment": ("rosalind", "/experiments/stories/"),
        "waiting": ("rosalind", "/experiments/by-hand/"),
        "failed": ("rosalind", "/experiments/broken/"),
        "draft": ("rosalind", "/experiments/later/"),
        "stop": ("rosalind", "/experiments/by-hand/stop/"),
        "change": ("rosalind", "/experiments/by-hand/change/"),
        "rounds": ("rosalind", "/experiments/rubric/"),
        "candidates": ("rosalind", "/experiments/rubric/candidates/search-0/"),
        "proxy-rubric": ("rosalind", "/experiments/rubric/proxies/3/"),
        "proxy-context": ("rosalind", "/experiments/context/proxies/2/"),
        "prompt-awaited": ("rosalind", "/experiments/by-prompt/"),
        "prompt": ("rosalind", "/experiments/by-prompt/prompt/"),
        "rollouts": ("rosalind", "/experiments/stories/rollouts/?step=0&purpose=eval"),
        "rollout": ("rosalind", f"/experiments/stories/rollouts/{rollout.pk}/"),
        "proxy": ("rosalind", "/experiments/stories/proxies/2/"),
        "new": ("rosalind", "/experiments/new/"),
        "new-retrain": ("rahel", "/experiments/new/?preset=pocket-retrain"),
        "suites": ("rosalind", "/suites/"),
        "suites-none": ("rahel", "/suites/"),
        "suite": ("rosalind", "/suites/methods/"),
        "suite-new": ("rosalind", "/suites/new/"),
    }


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark"), (1920, "light")])
def test_every_page_is_readable_and_fits(width, scheme, addresses, visitor):
    problems = []
    pages = {}
    for name, (who, address) in addresses.items():
        if who not in pages:
            pages[who] = visitor(who, viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce", bypass_csp=True)
        page = pages[who]
        page.goto(address)
        page.wait_for_timeout(250 if "experiment" not in address else 500)
        if name == "suite":
            page.locator("#results figure").first.wait_for()  # measured apart from the page
            drawn = page.evaluate(
                "Promise.all([...document.images].map(image => { image.loading = 'eager'; return image.decode().then(() => image.naturalWidth) }))"
            )
            assert all(drawn), "figures are drawn when they are scrolled to"
        if SCREENS:
            Path(SCREENS).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=f"{SCREENS}/{name}-{width}-{scheme}.png", full_page=True)
        beside = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if beside > 0:
            problems.append(f"{name}: {beside} px beside the edge")
        page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
        page.evaluate(AXE)
        for found in page.evaluate("axe.run().then(result => result.violations)"):
            problems += [f"{name}: {found['id']}: {node['html'][:120]} {node['failureSummary'][:200]}" for node in found["nodes"][:3]]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("sheet", ["?", "g"])
def test_the_sheets_of_the_review_page_are_readable(sheet, addresses, visitor):
    page = visitor("edith", bypass_csp=True)
    page.goto(addresses["review"][1])
    page.locator("body").press(sheet)
    page.get_by_role("dialog").wait_for()
    page.evaluate(AXE)
    assert page.evaluate("axe.run().then(result => result.violations.map(v => v.id))") == []


def test_the_keyboard_reaches_the_content_first_and_focus_is_seen(addresses, visitor):
    page = visitor("edith")
    page.goto("/review/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"

"""Roles, and an admin site that shows what the actions wrote without a second way to write it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, Group
from django.urls import reverse

from annotation import roles
from annotation.models import AuditEntry, Domain, Expert, Feedback, digest_of
from tests.annotation.makers import claim_one, make_batch, make_user, submit

SHOWN = ["prompt", "rollout", "batch", "item", "claim", "draft", "feedback", "gold", "auditentry"]


@pytest.fixture
def admin(client, db):
    client.force_login(make_user("root", is_superuser=True, is_staff=True), backend="django.contrib.auth.backends.ModelBackend")
    return client


def test_the_groups_are_there_after_migrating(db):
    assert set(Group.objects.values_list("name", flat=True)) >= set(roles.GROUPS)


@pytest.mark.parametrize(("group", "researcher", "expert"), [("researcher", True, False), ("expert", False, True), (None, False, False)])
def test_a_group_gives_a_role(group, researcher, expert, db):
    user = make_user("dora")
    if group:
        user.groups.add(Group.objects.get(name=group))
    assert (roles.is_researcher(user), roles.is_expert(user), roles.is_admin(user)) == (researcher, expert, False)


def test_an_admin_has_every_role_and_a_stranger_or_a_barred_person_none(db):
    root = make_user("root", is_superuser=True)
    assert roles.is_admin(root)
    assert roles.is_researcher(root)
    assert roles.is_expert(root)
    for user in (AnonymousUser(), make_user("gone", is_superuser=True, is_active=False)):
        assert not any(has_role(user) for has_role in (roles.is_admin, roles.is_researcher, roles.is_expert))


@pytest.mark.parametrize("model", SHOWN)
def test_the_admin_shows_rows_and_cannot_change_them(model, admin, domain, panel, alice):
    make_batch(panel, domain, 2)
    submit(claim_one(alice), user=alice)
    claim_one(alice)
    assert admin.get(reverse(f"admin:annotation_{model}_changelist")).status_code == 200
    assert admin.get(reverse(f"admin:annotation_{model}_add")).status_code == 403


def test_a_verdict_cannot_be_edited_or_deleted_in_the_admin(admin, domain, panel, alice):
    make_batch(panel, domain)
    row = submit(claim_one(alice), user=alice)
    page = reverse("admin:annotation_feedback_change", args=[row.pk])
    assert admin.get(page).status_code == 200
    assert admin.post(page, {"critique": "Other."}).status_code == 403
    assert admin.post(reverse("admin:annotation_feedback_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
    action = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    admin.post(reverse("admin:annotation_feedback_changelist"), action)
    assert Feedback.objects.get().critique == row.critique


def test_domains_and_panels_can_be_edited(admin, domain, panel, alice, carol):
    values = {"alias": "panel", "name": "Readers", "kind": "human", "backend": "", "options": "{}", "members": [carol.pk], "active": "on"}
    assert admin.post(reverse("admin:annotation_expert_change", args=[panel.pk]), values).status_code == 302
    assert list(Expert.objects.get().members.all()) == [carol]
    assert admin.get(reverse("admin:annotation_domain_change", args=[domain.pk])).status_code == 200


def test_the_guidelines_that_a_verdict_was_given_under_can_be_found_again(admin, domain, panel, alice):
    Domain.objects.update(guidelines="Be kind.")
    make_batch(panel, domain, 1)
    row = submit(claim_one(alice), user=alice)
    values = {field.name: field.value_from_object(domain) for field in Domain._meta.fields if field.editable and not field.primary_key}
    values |= {"guidelines": "Be exact.", "score_anchors": "[]"}
    assert admin.post(reverse("admin:annotation_domain_change", args=[domain.pk]), values).status_code == 302
    entry = AuditEntry.objects.get(verb="edited")
    assert (Domain.objects.get().guidelines, entry.data["before"]) == ("Be exact.", {"guidelines": "Be kind."})
    assert row.expert_options == {"kind": "human", "guidelines": digest_of("Be kind.")}


def test_a_secret_among_an_experts_options_is_refused(admin):
    values = {"alias": "opus", "name": "Opus", "kind": "llm", "backend": "pocket", "options": '{"model": {"api_key": "x"}}', "active": "on"}
    answer = admin.post(reverse("admin:annotation_expert_add"), values)
    assert "settings instead" in answer.content.decode()
    assert not Expert.objects.exists()


def test_an_outsider_sees_nothing_of_the_admin(client, carol):
    client.force_login(carol, backend="django.contrib.auth.backends.ModelBackend")
    assert client.get(reverse("admin:annotation_feedback_changelist")).status_code == 302
    assert not AuditEntry.objects.exists()
    assert not Domain.objects.exists()

"""The API for people who review from their own tools. The rules are those of the pages: everything goes through `annotation.actions`.

What a reviewer may not know before the verdict (scores, step, model, other people's words, whether an item is a control) is in no answer.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db.models import QuerySet
from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import exceptions, generics, pagination, permissions, serializers, status
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView, exception_handler

from annotation import actions, desk, errors, prepared, roles
from annotation.api_shapes import (
    BODY,
    CLAIM_EXAMPLE,
    DECLINE_EXAMPLE,
    DRAFT_EXAMPLE,
    KEY_HEADER,
    MOST_ROWS,
    REVISION_EXAMPLE,
    REVOKED,
    VERDICT_EXAMPLE,
    ClaimRequestSerializer,
    ClaimSerializer,
    ConflictSerializer,
    DeclineRequestSerializer,
    DraftSerializer,
    EndedSerializer,
    LeaseSerializer,
    QueueSerializer,
    ReceiptSerializer,
    RevisionRequestSerializer,
    SavedSerializer,
    VerdictRequestSerializer,
    VerdictSerializer,
    refusals,
)
from annotation.models import Batch, Claim, Feedback

GIVEN_BACK = "You gave this text back. Claim the next one; it may be this one again."


# Who asks --------------------------------------------------------------------------------------------------------------------


class NotAReviewer(exceptions.PermissionDenied):
    default_detail = "Only experts review. Ask an admin to make you one."
    default_code = "not_a_reviewer"


class NoLongerOnThePanel(exceptions.PermissionDenied):
    default_detail = REVOKED
    default_code = "not_on_the_panel"


class IsReviewer(permissions.IsAuthenticated):
    def has_permission(self, request: Request, view: Any) -> bool:
        if super().has_permission(request, view) and not roles.is_expert(request.user):
            raise NotAReviewer
        return super().has_permission(request, view)


# What goes wrong ---------------------------------------------------------------------------------------------------------------


class TooLarge(exceptions.APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = f"Send at most {settings.DATA_UPLOAD_MAX_MEMORY_SIZE:,} bytes."
    default_code = "too_large"


class GivenBack(exceptions.APIException):
    status_code = status.HTTP_410_GONE
    default_detail = GIVEN_BACK
    default_code = "claim_lost"


class Body(JSONParser):
    """JSON of at most settings.DATA_UPLOAD_MAX_MEMORY_SIZE bytes."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        if int(parser_context["request"].META.get("CONTENT_LENGTH") or 0) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise TooLarge  # Django checks a body that it reads, and this one comes as a stream
        try:
            return super().parse(stream, media_type, parser_context)
        except RecursionError as exc:
            raise exceptions.ParseError("JSON parse error - nested too deeply") from exc


# By kind of error: status and code. Somebody else's claim or verdict is 404 before any of these; `NotYours` is then about the key.
REFUSALS: dict[type[errors.AnnotationError], tuple[int, str]] = {
    errors.InvalidVerdict: (422, "invalid"),
    errors.DraftConflict: (409, "draft_conflict"),
    errors.AlreadyAnswered: (409, "already_answered"),
    errors.NotYours: (409, "key_used"),
    errors.ClaimLost: (410, "claim_lost"),
}


def handle(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Every error as `{"code", "message", "fields"}`; a draft conflict also has the `draft` that is stored."""
    if isinstance(exc, errors.AnnotationError):
        number, code = REFUSALS[type(exc)]
        fields = {name: [words] for name, words in exc.errors.items()} if isinstance(exc, errors.InvalidVerdict) else {}
        body: dict[str, Any] = {"code": code, "message": str(exc), "fields": fields}
        if isinstance(exc, errors.DraftConflict):
            body["draft"] = DraftSerializer(exc.current).data
        return Response(body, status=number)
    if isinstance(exc, RequestDataTooBig):
        exc = TooLarge()
    answer = exception_handler(exc, context)
    if answer is None:
        return None
    if isinstance(exc, exceptions.ValidationError):
        fields = {("body" if name == "non_field_errors" else name): _flat(words) for name, words in answer.data.items()}
        message = " ".join(words if name == "body" else f"{name}: {words}" for name, found in fields.items() for words in found)
        answer.status_code, answer.data = 422, {"code": "invalid", "message": message, "fields": fields}
    else:
        code = "not_found" if isinstance(exc, Http404) else str(getattr(exc, "get_codes", lambda: "permission_denied")())
        message = "There is no such thing here for you." if isinstance(exc, Http404) else str(answer.data["detail"])
        answer.data = {"code": code, "message": message, "fields": {}}
    return answer


def _flat(found: Any, where: str = "") -> list[str]:
    """Messages of nested errors as a list of sentences that say where."""
    if isinstance(found, dict):
        return [line for name, inner in found.items() for line in _flat(inner, f"{where}{name}: ")]
    if isinstance(found, list):
        # A list of errors by place in a list of rows, or the messages themselves.
        rows = any(isinstance(inner, dict) for inner in found)
        return [line for place, inner in enumerate(found) for line in _flat(inner, f"{where}{place}: " if rows else where)]
    return [f"{where}{found}"]


# The routes --------------------------------------------------------------------------------------------------------------------


# Asked with each claim and each submit, so without the ORM: building queries of this size costs more than running them. A claim is its
# holder's to read once it is opened: not yet when a page has only fetched it ahead. `reviews` is as `desk.may_review` says.
CHECK = """
SELECT EXISTS (SELECT FROM annotation_expert_members member WHERE member.expert_id = item.expert_id AND member.user_id = %(user)s)
    AND (%(admin)s OR EXISTS (
        SELECT FROM auth_user_groups held JOIN auth_group role ON role.id = held.group_id WHERE held.user_id = %(user)s AND role.name = %(role)s
    )) AS reviews
FROM annotation_claim claim
JOIN annotation_item item ON item.id = claim.item_id
WHERE claim.token = %(token)s AND claim.user_id = %(user)s AND claim.opened IS NOT NULL
"""
READ = """
SELECT EXISTS (SELECT FROM annotation_expert_members member WHERE member.expert_id = item.expert_id AND member.user_id = %(user)s)
    AND (%(admin)s OR EXISTS (
        SELECT FROM auth_user_groups held JOIN auth_group role ON role.id = held.group_id WHERE held.user_id = %(user)s AND role.name = %(role)s
    )) AS reviews,
    batch.purpose, batch.note, batch.strategy,
    claim.token, item.id AS item, batch.id AS batch, domain.slug AS domain,
    (SELECT text FROM annotation_prompt prompt WHERE prompt.id = rollout.prompt_id) AS prompt,
    rollout.content, rollout.finished,
    json_build_object('min', domain.score_min, 'max', domain.score_max, 'required', domain.score_required, 'anchors', domain.score_anchors) AS score,
    domain.guidelines, claim.expires, claim.outcome,
    (SELECT json_build_object('critique', draft.critique, 'deliberation', draft.deliberation, 'score', draft.score, 'spans', draft.spans,
        'version', draft.version, 'saved', draft.saved)
     FROM annotation_draft draft WHERE draft.item_id = item.id AND draft.user_id = %(user)s) AS draft
FROM annotation_claim claim
JOIN annotation_item item ON item.id = claim.item_id
JOIN annotation_batch batch ON batch.id = item.batch_id
JOIN annotation_domain domain ON domain.id = batch.domain_id
JOIN annotation_rollout rollout ON rollout.id = item.rollout_id
WHERE claim.token = %(token)s AND claim.user_id = %(user)s AND claim.opened IS NOT NULL
"""


class Reviewing(APIView):
    parser_classes = [Body]


class QueueView(Reviewing):
    permission_classes = [IsReviewer]

    @extend_schema(operation_id="queue", summary="What waits for you", responses={200: QueueSerializer} | refusals(403))
    def get(self, request: Request) -> Response:
        """The batches that wait for somebody, those first in which you can do something."""
        found = {"today": desk.verdicts_today(request.user), "batches": desk.queue(request.user)}
        return Response(QueueSerializer(found).data)


class ClaimsView(Reviewing):
    permission_classes = [IsReviewer]

    @extend_schema(
        operation_id="claim",
        summary="Claim the next text",
        request=ClaimRequestSerializer,
        responses={
            201: OpenApiResponse(ClaimSerializer, "A text that is yours from now on."),
            200: OpenApiResponse(ClaimSerializer, "The text that you have open already, its lease renewed, whatever batch was asked for."),
            204: OpenApiResponse(None, "Nothing waits for you."),
        }
        | refusals(403, 404, *BODY),
        examples=[CLAIM_EXAMPLE],
    )
    def post(self, request: Request) -> Response:
        """Nobody else is handed the text while its lease runs. You have one text at a time."""
        asked = _read(ClaimRequestSerializer, request)
        batch = _batch(request.user, asked.get("batch"))
        now = timezone.now()
        claims = actions.claim_next(user=request.user, batch=batch, related=(), now=now)
        if not claims:
            return Response(status=204)
        return Response(_read_claim(request.user, claims[0].token), status=201 if claims[0].started == now else 200)


class ClaimView(Reviewing):
    @extend_schema(
        operation_id="claim_get",
        summary="Read a claim of yours",
        responses={200: ClaimSerializer} | refusals(403, 404, 410),
        examples=[CLAIM_EXAMPLE],
    )
    def get(self, request: Request, token: UUID) -> Response:
        """The text with your draft. It stays here after the lease ran out, for words that come late; not after you gave it back."""
        claim = _read_claim(request.user, token)
        if claim["outcome"] in (Claim.Outcome.DECLINED, Claim.Outcome.RELEASED):
            raise GivenBack
        return Response(claim)


class DraftView(Reviewing):
    @extend_schema(
        operation_id="draft_save",
        summary="Save a draft",
        request=DraftSerializer,
        responses={200: SavedSerializer}
        | refusals(403, 404, *BODY)
        | {
            409: OpenApiResponse(
                ConflictSerializer,
                "The draft was saved elsewhere since `version` (its copy is in `draft`), or the item is submitted already.",
                examples=[
                    OpenApiExample(
                        "draft_conflict",
                        {
                            "code": "draft_conflict",
                            "message": "This draft was changed in another window since you loaded it.",
                            "fields": {},
                            "draft": {
                                "critique": "From the browser.",
                                "deliberation": "",
                                "score": "",
                                "spans": [],
                                "version": 2,
                                "saved": "2026-11-24T12:01:07Z",
                            },
                        },
                        response_only=True,
                        status_codes=["409"],
                    )
                ],
            )
        },
        examples=[DRAFT_EXAMPLE],
    )
    def put(self, request: Request, token: UUID) -> Response:
        """Keep what is written so far and renew the lease. After the lease ran out the words are kept all the same."""
        _check(request.user, token)
        sent = _read(DraftSerializer, request)
        draft = actions.save_draft(token, user=request.user, **sent)
        expires = Claim.objects.values_list("expires", flat=True).get(token=token)
        return Response(SavedSerializer({"version": draft.version, "saved": draft.saved, "expires": expires}).data)


class RenewView(Reviewing):
    @extend_schema(
        operation_id="claim_renew", summary="Keep the lease", request=None, responses={200: LeaseSerializer} | refusals(403, 404, 409, 410)
    )
    def post(self, request: Request, token: UUID) -> Response:
        """Say that somebody is still reading. A lease that ran out is taken up again where the text is still free."""
        _check(request.user, token)
        return Response(LeaseSerializer(actions.renew_claim(token, user=request.user)).data)


class SubmitView(Reviewing):
    @extend_schema(
        operation_id="submit",
        summary="Submit a verdict",
        request=VerdictRequestSerializer,
        parameters=[KEY_HEADER],
        responses={
            201: OpenApiResponse(ReceiptSerializer, "Kept. An extra verdict, which came too late, has counted false."),
            200: OpenApiResponse(ReceiptSerializer, "This key landed before: what it brought then."),
        }
        | refusals(403, 404, 409, 410, *BODY),
        examples=[VERDICT_EXAMPLE],
    )
    def post(self, request: Request, token: UUID) -> Response:
        """No word is lost: after the lease ran out the verdict counts if the text is still free, else it is kept as an extra one."""
        _check(request.user, token)
        sent = _read(VerdictRequestSerializer, request)
        now = timezone.now()
        feedback = actions.submit_feedback(token, user=request.user, now=now, **sent)
        return _receipt(feedback, now)


class DeclineView(Reviewing):
    @extend_schema(
        operation_id="claim_decline",
        summary="Decline a text",
        request=DeclineRequestSerializer,
        responses={200: EndedSerializer} | refusals(403, 404, 409, *BODY),
        examples=[DECLINE_EXAMPLE],
    )
    def post(self, request: Request, token: UUID) -> Response:
        """It goes on to somebody else and does not come to you again. Saying so twice changes nothing."""
        _check(request.user, token)
        sent = _read(DeclineRequestSerializer, request)
        return Response(EndedSerializer(actions.decline(token, user=request.user, **sent)).data)


class ReleaseView(Reviewing):
    @extend_schema(operation_id="claim_release", summary="Give a text back", request=None, responses={200: EndedSerializer} | refusals(403, 404))
    def post(self, request: Request, token: UUID) -> Response:
        """It may come to you again; your draft is kept. A claim that has ended is left as it is."""
        _check(request.user, token)
        return Response(EndedSerializer(actions.release(token, user=request.user)).data)


class Pages(pagination.PageNumberPagination):
    page_size = 30
    page_size_query_param = "page_size"
    max_page_size = 100


class VerdictsView(generics.ListAPIView):
    permission_classes = [IsReviewer]
    serializer_class = VerdictSerializer
    pagination_class = Pages
    queryset = Feedback.objects.none()

    def get_queryset(self) -> QuerySet[Feedback]:
        mine = Feedback.objects.filter(author=self.request.user.pk, current=True)
        return mine.select_related("item__batch__domain").prefetch_related("spans").order_by("-submitted", "-pk")

    @extend_schema(operation_id="verdicts", summary="Your verdicts", responses={200: VerdictSerializer(many=True)} | refusals(403, 404))
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Those that stand, newest first."""
        return super().get(request, *args, **kwargs)


class ReviseView(Reviewing):
    permission_classes = [IsReviewer]

    @extend_schema(
        operation_id="verdict_revise",
        summary="Revise a verdict",
        request=RevisionRequestSerializer,
        parameters=[KEY_HEADER],
        responses={
            201: OpenApiResponse(ReceiptSerializer, "The new revision; the old one is kept."),
            200: OpenApiResponse(ReceiptSerializer, "This key landed before."),
        }
        | refusals(403, 404, 409, *BODY),
        examples=[REVISION_EXAMPLE],
    )
    def post(self, request: Request, pk: int) -> Response:
        """The revision stands in place of the whole verdict: send all of it, and say why."""
        old = Feedback.objects.filter(author=request.user.pk, pk=pk).first() if pk <= MOST_ROWS else None
        if old is None:
            raise Http404
        sent = _read(RevisionRequestSerializer, request)
        now = timezone.now()
        return _receipt(actions.revise_feedback(old, user=request.user, **sent), now)


@extend_schema(exclude=True)
class NowhereView(Reviewing):
    """Any other address below the API, so that errors there have the one shape too."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise Http404


def _read(serializer: type[serializers.Serializer], request: Request) -> dict[str, Any]:
    """What was sent, checked. Raises ValidationError."""
    found = serializer(data=request.data, context={"request": request})
    found.is_valid(raise_exception=True)
    return found.validated_data


def _batch(user: Any, pk: int | None) -> Batch | None:
    if pk is None:
        return None
    found = desk.batches_of(user).filter(pk=pk).first()
    if found is None:
        raise Http404
    return found


def _row(statement: str, user: Any, token: UUID) -> dict[str, Any]:
    """What `CHECK` or `READ` finds. Raises Http404 for somebody else's claim, `NoLongerOnThePanel` for who may not review it any more."""
    with prepared.run(statement, {"token": token, "user": user.pk, "admin": roles.is_admin(user), "role": roles.EXPERT}) as cursor:
        values = cursor.fetchone()
        if values is None:
            raise Http404
        found = dict(zip((column[0] for column in cursor.description), values, strict=True))
    if not found.pop("reviews"):
        raise NoLongerOnThePanel
    return found


def _check(user: Any, token: UUID) -> None:
    _row(CHECK, user, token)


def _read_claim(user: Any, token: UUID) -> dict[str, Any]:
    """The claim as `ClaimSerializer` describes it."""
    found = _row(READ, user, token)
    batch = Batch(purpose=found["purpose"], note=found.pop("note"), strategy=found.pop("strategy"))
    described = desk.Row(batch, 0, 0, 0, 0, 0, None)
    return found | {"purpose": described.purpose, "why": described.why}


def _receipt(feedback: Feedback, now: datetime) -> Response:
    """201 for what was written just now, 200 for what had landed before."""
    return Response(ReceiptSerializer(feedback).data, status=201 if feedback.submitted >= now else 200)

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
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import exceptions, generics, pagination, permissions, serializers, status
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView, exception_handler

from annotation import actions, desk, errors, prepared, roles
from annotation.actions import Passage
from annotation.actions.verdicts import KEY_LENGTH
from annotation.forms import MOST_SPANS
from annotation.models import Batch, Claim, Feedback, Span

REVOKED = "You are no longer on the panel that judges this text, so nothing more of it is taken."
GIVEN_BACK = "You gave this text back. Claim the next one; it may be this one again."
EXTRA = "Kept as an extra verdict: somebody else had judged that text after your lease ended, or it is not wanted any more."
MOST_ROWS = 2**63 - 1
MOST_PLACES = 2**31 - 1


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


# What is sent and answered -----------------------------------------------------------------------------------------------------


class ErrorSerializer(serializers.Serializer):
    code = serializers.CharField(help_text="For programs: invalid, draft_conflict, already_answered, key_used, claim_lost, not_found, ...")
    message = serializers.CharField(help_text="For people.")
    fields = serializers.DictField(child=serializers.ListField(child=serializers.CharField()), help_text="What is wrong, by field.")  # type: ignore[assignment]


class Number(serializers.FloatField):
    """A float; true and false are none, and what no float can hold is an error, not a crash."""

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool):
            self.fail("invalid")
        try:
            return super().to_internal_value(data)
        except OverflowError:
            self.fail("invalid")


class Words(serializers.CharField):
    """Text that is kept as it is written."""

    def __init__(self, **options: Any) -> None:
        usual: dict[str, Any] = {"allow_blank": True, "required": False, "default": "", "trim_whitespace": False}
        super().__init__(**usual | options)


class SpanSerializer(serializers.Serializer):
    """A passage of the text: its Unicode code points from `start` up to, not including, `end`."""

    start = serializers.IntegerField(min_value=0, max_value=MOST_PLACES)
    end = serializers.IntegerField(min_value=1, max_value=MOST_PLACES)
    quote = Words(required=True, default=serializers.empty, help_text="The passage itself; it must match.")
    sign = serializers.ChoiceField(Span.Sign.choices, help_text="A strength or a weakness.")
    comment = Words()


class DraftSerializer(serializers.Serializer):
    critique = Words()
    deliberation = Words()
    score = serializers.CharField(allow_blank=True, required=False, default="", max_length=20, help_text="As typed; it need not be a number yet.")
    spans = serializers.ListField(
        child=serializers.DictField(), required=False, default=list, max_length=MOST_SPANS, help_text="As in a verdict, checked when it is submitted."
    )
    version = serializers.IntegerField(
        min_value=0, max_value=MOST_PLACES, required=False, default=0, help_text="Of the draft that this one grew from; 0: none."
    )
    saved = serializers.DateTimeField(read_only=True)


class SavedSerializer(serializers.Serializer):
    version = serializers.IntegerField(help_text="Send it with the next save.")
    saved = serializers.DateTimeField()
    expires = serializers.DateTimeField(help_text="The lease; saving renews it.")


class ScaleSerializer(serializers.Serializer):
    min = serializers.FloatField()
    max = serializers.FloatField()
    required = serializers.BooleanField()  # type: ignore[assignment]
    anchors = serializers.ListField(child=serializers.CharField(), help_text="Words along the scale, low to high.")


class ClaimSerializer(serializers.Serializer):
    """Describes what `READ` brings."""

    token = serializers.UUIDField(help_text="Names the claim in every address below claims/.")
    item = serializers.IntegerField()
    batch = serializers.IntegerField()
    domain = serializers.CharField()
    purpose = serializers.CharField(help_text="What the verdict is for.")
    why = serializers.CharField(help_text="Why this text was chosen; may be empty.")
    prompt = serializers.CharField(help_text="What the writer was asked.")
    content = serializers.CharField(help_text="The text to judge.")
    finished = serializers.BooleanField(help_text="False where the text breaks off at its length limit.")
    score = ScaleSerializer(help_text="The range of the score.")
    guidelines = serializers.CharField(help_text="Markdown.")
    expires = serializers.DateTimeField(help_text="The lease: from then on the text may go to somebody else.")
    outcome = serializers.ChoiceField([("", "open"), *Claim.Outcome.choices], help_text="Empty while the claim is open.")
    draft = DraftSerializer(allow_null=True, help_text="What you have saved on this item so far.")


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


class ClaimRequestSerializer(serializers.Serializer):
    batch = serializers.IntegerField(required=False, allow_null=True, min_value=1, max_value=MOST_ROWS, help_text="Only of this batch.")


class LeaseSerializer(serializers.Serializer):
    expires = serializers.DateTimeField()


class EndedSerializer(serializers.Serializer):
    token = serializers.UUIDField()
    outcome = serializers.ChoiceField(Claim.Outcome.choices)


class VerdictRequestSerializer(serializers.Serializer):
    key = serializers.CharField(
        required=False, max_length=KEY_LENGTH, help_text="Instead of the header Idempotency-Key: a text of your own; the same one again lands once."
    )
    critique = Words(help_text="What works, what does not, and why.")
    deliberation = Words(help_text="How the critique becomes a score.")
    score = Number(required=False, allow_null=True, default=None)
    spans = serializers.ListField(child=SpanSerializer(), required=False, default=list, max_length=MOST_SPANS)

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        sent = self.context["request"].headers.get("Idempotency-Key", "")
        key = values.setdefault("key", sent)
        problem = ""
        if not key:
            problem = "Send a key, here or as the header Idempotency-Key: the same key lands once."
        elif sent and sent != key:
            problem = "The header Idempotency-Key says something else."
        elif len(key) > KEY_LENGTH or not key.isprintable():
            problem = f"Use 1 to {KEY_LENGTH} printable characters."
        if problem:
            raise serializers.ValidationError({"key": problem})
        return values | {"spans": [Passage(**span) for span in values["spans"]]}


class RevisionRequestSerializer(VerdictRequestSerializer):
    reason = Words(help_text="Why it changes. Everything else is as in a verdict, and stands in place of all that was said before.")


class DeclineRequestSerializer(serializers.Serializer):
    reason = serializers.ChoiceField(Claim.Decline.choices)
    words = Words(help_text="In your own words; needed for the reason other.")


class ReceiptSerializer(serializers.Serializer):
    id = serializers.IntegerField(source="pk", help_text="Of the verdict, in the addresses below verdicts/.")
    item = serializers.IntegerField(source="item_id")
    revision = serializers.IntegerField()
    counted = serializers.BooleanField(help_text="False for an extra verdict: kept, but somebody else's counts.")
    message = serializers.SerializerMethodField(help_text="For people; empty where there is nothing to say.")
    score = serializers.FloatField(allow_null=True)
    submitted = serializers.DateTimeField()

    def get_message(self, feedback: Feedback) -> str:
        return "" if feedback.counted else EXTRA


class VerdictSerializer(serializers.Serializer):
    id = serializers.IntegerField(source="pk")
    item = serializers.IntegerField(source="item_id")
    batch = serializers.IntegerField(source="item.batch_id")
    domain = serializers.CharField(source="item.batch.domain.slug")
    revision = serializers.IntegerField()
    counted = serializers.BooleanField()
    score = serializers.FloatField(allow_null=True)
    critique = serializers.CharField()
    deliberation = serializers.CharField()
    spans = SpanSerializer(many=True)
    assisted = serializers.BooleanField(help_text="Written after you compared it with what others said.")
    reason = serializers.CharField(help_text="Why it stands in place of an earlier revision.")
    started = serializers.DateTimeField()
    submitted = serializers.DateTimeField()


class WaitingSerializer(serializers.Serializer):
    """A batch that waits; counts are in items."""

    id = serializers.IntegerField(source="batch.pk")
    domain = serializers.CharField(source="batch.domain.slug")
    name = serializers.CharField(source="batch.domain.name")
    purpose = serializers.CharField()
    why = serializers.CharField()
    total = serializers.IntegerField()
    done = serializers.IntegerField()
    left = serializers.IntegerField(help_text="Those that you could be handed.")
    mine = serializers.IntegerField(help_text="Judged by you.")
    mine_today = serializers.IntegerField()
    claim = serializers.UUIDField(source="open_token", allow_null=True, help_text="The token of the text that you have open.")


class QueueSerializer(serializers.Serializer):
    today = serializers.IntegerField(help_text="Verdicts of yours since midnight.")
    batches = WaitingSerializer(many=True)


ERRORS = {
    400: ("The body is no JSON.", "parse_error", "JSON parse error - Expecting value: line 1 column 1 (char 0)", {}),
    401: ("No token, or one that is not valid.", "not_authenticated", "Authentication credentials were not provided.", {}),
    403: ("Not a reviewer, or no longer on the panel.", "not_on_the_panel", REVOKED, {}),
    404: ("Not there, or not yours.", "not_found", "There is no such thing here for you.", {}),
    409: ("It is answered already, or the key belongs to another verdict.", "already_answered", "This item was already submitted.", {}),
    410: ("The claim is over.", "claim_lost", "Your time with this item ran out and it went on to somebody else.", {}),
    413: ("The body is too large.", "too_large", "Send at most 10,485,760 bytes.", {}),
    415: ("The body is not sent as application/json.", "unsupported_media_type", 'Unsupported media type "text/plain" in request.', {}),
    422: ("Something is wrong with what was sent.", "invalid", "score: Give a score from 0 to 100.", {"score": ["Give a score from 0 to 100."]}),
}


class ConflictSerializer(ErrorSerializer):
    draft = DraftSerializer(required=False, help_text="With the code draft_conflict: the draft that is stored.")


def _refusals(*numbers: int) -> dict[int, Any]:
    """The answers to what goes wrong, for the schema."""
    found: dict[int, Any] = {}
    for number in (401, *numbers):
        description, code, message, fields = ERRORS[number]
        example = OpenApiExample(code, {"code": code, "message": message, "fields": fields}, response_only=True, status_codes=[str(number)])
        found[number] = OpenApiResponse(ErrorSerializer, description=description, examples=[example])
    return found


BODY = (400, 413, 415, 422)
KEY_HEADER = OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER, description="A text of your own; the same one again lands once.")
CRITIQUE = "The last line answers the first, and the ledger is more than a prop. The boatman is a type."
SPAN = {"start": 0, "end": 24, "quote": "Every keeper of Skarn li", "sign": "+", "comment": "a place at once"}
VERDICT_EXAMPLE = OpenApiExample(
    "A verdict", {"key": "ledger-17", "critique": CRITIQUE, "score": 62, "spans": [SPAN]}, request_only=True, description="With a highlight."
)
DRAFT_EXAMPLE = OpenApiExample("A draft", {"critique": "The last line", "score": "", "version": 1}, request_only=True)
DECLINE_EXAMPLE = OpenApiExample("A conflict of interest", {"reason": "conflict", "words": "I know the author"}, request_only=True)
REVISION_EXAMPLE = OpenApiExample(
    "A revision", {"key": "ledger-17b", "critique": CRITIQUE, "score": 58, "reason": "I had missed the anachronism"}, request_only=True
)
CLAIM_EXAMPLE = OpenApiExample(
    "A text to judge",
    {
        "token": "2f6b1f0e-5d0c-4c58-9a0e-5a4f7b8f2f10",
        "item": 17,
        "batch": 3,
        "domain": "short-stories",
        "purpose": "to teach the grader",
        "why": "Chosen where the grader is least sure.",
        "prompt": "Write a story about the lighthouse ledger.",
        "content": "Every keeper of Skarn light had written in the same ledger, and every keeper had lied in it.",
        "finished": True,
        "score": {"min": 0, "max": 100, "required": True, "anchors": ["incoherent", "competent", "publishable"]},
        "guidelines": "Read the whole story before you write.",
        "expires": "2026-11-24T12:05:00Z",
        "outcome": "",
        "draft": None,
    },
    response_only=True,
    status_codes=["200", "201"],
)


# The routes --------------------------------------------------------------------------------------------------------------------


class Reviewing(APIView):
    parser_classes = [Body]


class QueueView(Reviewing):
    permission_classes = [IsReviewer]

    @extend_schema(operation_id="queue", summary="What waits for you", responses={200: QueueSerializer} | _refusals(403))
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
        | _refusals(403, 404, *BODY),
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
        responses={200: ClaimSerializer} | _refusals(403, 404, 410),
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
        | _refusals(403, 404, *BODY)
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
        operation_id="claim_renew", summary="Keep the lease", request=None, responses={200: LeaseSerializer} | _refusals(403, 404, 409, 410)
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
        | _refusals(403, 404, 409, 410, *BODY),
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
        responses={200: EndedSerializer} | _refusals(403, 404, 409, *BODY),
        examples=[DECLINE_EXAMPLE],
    )
    def post(self, request: Request, token: UUID) -> Response:
        """It goes on to somebody else and does not come to you again. Saying so twice changes nothing."""
        _check(request.user, token)
        sent = _read(DeclineRequestSerializer, request)
        return Response(EndedSerializer(actions.decline(token, user=request.user, **sent)).data)


class ReleaseView(Reviewing):
    @extend_schema(operation_id="claim_release", summary="Give a text back", request=None, responses={200: EndedSerializer} | _refusals(403, 404))
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

    @extend_schema(operation_id="verdicts", summary="Your verdicts", responses={200: VerdictSerializer(many=True)} | _refusals(403, 404))
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
        | _refusals(403, 404, 409, *BODY),
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

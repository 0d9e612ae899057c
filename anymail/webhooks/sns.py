"""Views for events that come in messages of Amazon SNS, or of a service compatible with it.

A message with an event says who it's from by its topic. Since everybody can make topics, whose
messages are signed as all others are, there are lists of those that are expected.

Verifying signatures takes the cryptography package, which is imported only then.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.timezone import now

from ..conf import as_list, read_settings, setting, setting_name
from ..exceptions import AnymailWebhookValidationFailure
from ..signals import AnymailEvent
from .base import AnymailBaseWebhookView

# What isn't used here was here before: others may import it from here.
from .certificates import (  # noqa: F401
    MAX_CERTIFICATE_BYTES,
    MAX_CERTIFICATES,
    CertificateCache,
    TrustChain,
    certificate_names,
)
from .certificates import fetched_certificates as certificates  # noqa: F401
from .decoding import as_iso_time, as_str, as_word, parse_json_object
from .downloads import fetch_small
from .public_keys import require_cryptography
from .sns_signatures import (  # noqa: F401
    HASHES,
    NOTIFICATION,
    SIGNED_FIELDS,
    SUBSCRIPTION_CONFIRMATION,
    UNSUBSCRIBE_CONFIRMATION,
    string_to_sign,
    verify_signature,
)

logger = logging.getLogger("anymail.webhooks")

MAX_ANSWER_BYTES = 64 * 1024
"""Limit of what SNS answers to a confirmation."""

_REGION = re.compile(r"[a-zA-Z0-9-]+")


class SNSBaseWebhookView(AnymailBaseWebhookView):
    """Handles the SNS messages that a provider's events come in.

    Subclasses implement :meth:`esp_to_anymail_events` and what is about certificates and
    subscriptions. Raises AnymailImproperlyInstalled if signatures are to be verified, but there is
    no cryptography package.
    """

    install_extra = ""
    """The extra of Anymail that has cryptography."""
    certificate_url: re.Pattern[str]
    """What a SigningCertURL must match, from its scheme to its end."""
    sns_headers_are_required = True
    """Whether calls must have the x-amz-sns headers. Those that there are must be right."""
    not_events: frozenset[str] = frozenset()
    """Messages of notifications that are about something else."""

    auto_confirm_sns_subscriptions: bool = setting(
        "Whether the webhooks confirm their subscriptions to topics.",
        default=True,
    )
    sns_topic_arns: list[str] = setting(
        "The ARN of your topic, or a list of ARNs. ``*`` in one stands for any "
        "characters (as in Python's :mod:`fnmatch`). Calls for other topics are refused.",
        default=(),
        default_text="any topic",
        kind=as_list,
    )

    def __init__(self, **kwargs: Any) -> None:
        read_settings(self, kwargs)
        if self.verifies_signatures:
            require_cryptography(self.esp_name, self.install_extra)
            if self.sns_topic_arns:
                self.warn_if_no_basic_auth = False
        super().__init__(**kwargs)

    # -- For subclasses -----------------------------------------------------------------------

    @property
    def verifies_signatures(self) -> bool:
        """Whether messages must have a valid signature. Needed before ``__init__`` is called."""
        raise NotImplementedError

    def check_certificate(self, certificate: Any, now: datetime) -> None:
        """Raise AnymailWebhookValidationFailure if a certificate is not the provider's."""
        raise NotImplementedError

    def esp_to_anymail_events(
        self, esp_event: dict[str, Any], sns_message: dict[str, Any]
    ) -> Iterable[AnymailEvent]:
        """Return the normalized events for what the provider has published."""
        raise NotImplementedError

    def confirm_subscription(self, region: str, sns_message: dict[str, Any]) -> None:
        """Confirm a subscription to a topic in a region.

        The message is authentic, and has a TopicArn and a Token.
        """
        raise NotImplementedError

    # -- Requests -----------------------------------------------------------------------------

    @property
    def is_protected(self) -> bool:
        return self.verifies_signatures or super().is_protected

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if self.basic_auth and "HTTP_AUTHORIZATION" not in request.META:
            # SNS sends the credentials in a subscription's URL only when it's asked to.
            response = HttpResponse(status=401)
            response["WWW-Authenticate"] = 'Basic realm="Anymail WEBHOOK_SECRET"'
            return response
        if self.verifies_signatures and not self.basic_auth and not self.sns_topic_arns:
            _log_any_topic(self.esp_name, setting_name("sns_topic_arns", self.esp_name))
        return super().post(request, *args, **kwargs)

    def validate_request(self, request: HttpRequest) -> Any:
        message = self._parse_sns_message(request)
        if self.sns_topic_arns and not self._is_expected_topic(message.get("TopicArn")):
            raise AnymailWebhookValidationFailure(
                f"{self.esp_name} webhook call for SNS topic {message.get('TopicArn')!r:.300}, "
                f"which is not in {setting_name('sns_topic_arns', self.esp_name)}"
            )
        self._check_header(request, "x-amz-sns-message-type", message.get("Type"))
        if as_word(message.get("Type")) not in SIGNED_FIELDS:
            raise AnymailWebhookValidationFailure(
                f"Unknown SNS message type {message.get('Type')!r:.100} in {self.esp_name} webhook"
            )
        self._check_header(request, "x-amz-sns-message-id", message.get("MessageId"))
        if self.verifies_signatures:
            verify_signature(
                message,
                esp_name=self.esp_name,
                certificate_url=self.certificate_url,
                check_certificate=self.check_certificate,
                now=now(),
            )
            self.check_freshness(as_iso_time(message["Timestamp"]))

    def _is_expected_topic(self, topic_arn: Any) -> bool:
        arn = as_word(topic_arn)
        return any(fnmatchcase(arn, pattern) for pattern in self.sns_topic_arns)

    def _check_header(self, request: HttpRequest, name: str, expected: Any) -> None:
        """Raise AnymailWebhookValidationFailure if an SNS header isn't what the body has."""
        value = request.headers.get(name)
        if value is None and not self.sns_headers_are_required:
            return
        if value != expected:
            raise AnymailWebhookValidationFailure(
                f"SNS header {name!r} is {value!r:.100}, but the body of this {self.esp_name} "
                f"webhook call has {expected!r:.100}"
            )

    @classmethod
    def _parse_sns_message(cls, request: HttpRequest) -> dict[str, Any]:
        """Return the SNS message that is the body of the request. Parsed only once.

        (Other packages call this, with a view or without.)

        Raises AnymailWebhookValidationFailure if it isn't a JSON object.
        """
        message: dict[str, Any] | None = getattr(request, "_sns_message", None)
        if message is None:
            what = f"SNS message in {cls.esp_name} webhook"
            try:
                body = request.body.decode(request.encoding or "utf-8")
            except (LookupError, UnicodeError) as err:
                raise AnymailWebhookValidationFailure(f"Invalid text in {what}") from err
            message = parse_json_object(body, what)
            request._sns_message = message  # type: ignore[attr-defined]
        return message

    def is_about_webhook(self, request: HttpRequest) -> bool:
        message = self._parse_sns_message(request)
        return message["Type"] != NOTIFICATION or as_word(message.get("Message")) in self.not_events

    def decode(self, request: HttpRequest) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Return what the provider has published, and the SNS message that it came in."""
        message = self._parse_sns_message(request)
        if message["Type"] != NOTIFICATION:
            return []
        text = message.get("Message")
        if not isinstance(text, str):
            raise AnymailWebhookValidationFailure("No Message in SNS notification")
        if text in self.not_events:
            return []
        what = f"Message of SNS notification in {self.esp_name} webhook"
        return [(parse_json_object(text, what), message)]

    def convert(self, data: tuple[dict[str, Any], dict[str, Any]]) -> list[AnymailEvent]:
        return list(self.esp_to_anymail_events(*data))

    def parse_events(self, request: HttpRequest) -> Sequence[AnymailEvent]:
        message = self._parse_sns_message(request)
        # An UnsubscribeConfirmation has a token too, but that would be for subscribing again.
        if message["Type"] == SUBSCRIPTION_CONFIRMATION:
            self.auto_confirm_sns_subscription(message)
        return super().parse_events(request)

    def auto_confirm_sns_subscription(self, sns_message: dict[str, Any]) -> None:
        """Confirm the subscription of the webhook to an SNS topic.

        Only if calls are authenticated, by a secret or by signatures of topics that are known:
        anyone can subscribe their own topics to any URL, and what SNS then sends is as genuine as
        all its messages. Raises AnymailWebhookValidationFailure otherwise; other exceptions if
        SNS refuses.
        """
        topic_arn = as_str(sns_message.get("TopicArn")) or ""
        if not self.auto_confirm_sns_subscriptions:
            logger.warning(
                "The %s webhook got a request to confirm its subscription to SNS topic %.300r, and "
                "ignores it because %s is False: confirm it yourself. Or remove the setting, "
                "delete the subscription, and create it again.",
                self.esp_name,
                topic_arn,
                setting_name("auto_confirm_sns_subscriptions", self.esp_name),
            )
            return
        token = as_str(sns_message.get("Token")) or ""
        is_known = self.verifies_signatures and self._is_expected_topic(topic_arn)
        if not self.basic_auth and not is_known:
            # Not with the token, nor the SubscribeURL that has it in it: who has that can confirm.
            raise AnymailWebhookValidationFailure(
                f"Anymail received an unexpected SubscriptionConfirmation request for SNS topic "
                f"{topic_arn!r:.300} in its {self.esp_name} webhook. Set ANYMAIL['WEBHOOK_SECRET'] "
                "for Anymail to confirm subscriptions, or have signatures verified "
                f"({self.signature_setting}) and set "
                f"{setting_name('sns_topic_arns', self.esp_name)}. Then delete the subscription, "
                "and create it again, with the secret in its URL."
            )
        # arn:partition:sns:region:account:topic
        parts = topic_arn.split(":")
        if len(parts) != 6 or not _REGION.fullmatch(parts[3]) or not token:
            raise AnymailWebhookValidationFailure(
                f"Invalid SubscriptionConfirmation for SNS topic {topic_arn!r:.300} in "
                f"{self.esp_name} webhook"
            )
        self.confirm_subscription(parts[3], sns_message)


@cache
def _log_any_topic(esp_name: str, setting: str) -> None:
    # Once in the life of a process.
    logger.warning(
        "The %s webhook accepts signed messages of any SNS topic, which everybody with an account "
        "can make. Set %s to yours, or WEBHOOK_SECRET.",
        esp_name,
        setting,
    )


def confirm_with_url(url: str, esp_name: str) -> None:
    """Confirm a subscription by calling its SubscribeURL, which must have been checked.

    Raises AnymailRequestsAPIError if that doesn't succeed.
    """
    fetch_small(url, esp_name, MAX_ANSWER_BYTES)

"""Amazon SES webhooks, which Amazon SNS calls.

- SNS: https://docs.aws.amazon.com/sns/latest/dg/SendMessageToHttp.prepare.html
- Signatures: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
- Tracking: https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
  and https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html
- Inbound: https://docs.aws.amazon.com/ses/latest/dg/receiving-email-notifications-contents.html
- Encryption: https://docs.aws.amazon.com/ses/latest/dg/receiving-email-action-s3.html

These names need packages that are imported when they are first used: ``boto3``, ``ClientError``;
``S3EncryptionClient``, ``S3EncryptionClientConfig``, ``CommitmentPolicy``, ``KmsKeyring``,
``S3EncryptionClientSecurityError``; and the exceptions ``AnymailBotoClientAPIError``,
``AnymailBotoClientSecurityError``. AnymailImproperlyInstalled is raised if there is no such
package.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from functools import cache
from importlib import import_module
from typing import Any

from ..aws import (
    INSTALL_EXTRA,
    CallsAWS,
    _get_anymail_boto3_params,  # noqa: F401 (others import it from here)
    boto3_params,
    configuration_errors,
    missing_package,
)
from ..conf import read_settings, setting, setting_name
from ..exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailWebhookValidationFailure,
)
from ..headers import rfc2047_decode, unfold
from ..http import DEFAULT_DOWNLOAD_CHUNK_SIZE
from ..inbound import AnymailInboundMessage
from ..masking import drop_tracebacks
from ..signals import (
    AnymailInboundEvent,
    AnymailTrackingEvent,
    EventType,
    RejectReason,
    inbound,
    tracking,
)
from .certificates import certificate_names
from .decoding import (
    as_addr_spec,
    as_iso_time,
    as_str,
    as_tags,
    as_word,
    get_list,
    get_object,
    get_path,
    parse_base64_message,
    parse_json_object,
)
from .downloads import Downloads
from .sns import SNSBaseWebhookView

# Where SNS's certificates are. Names that are not of a region could be others' S3 buckets.
CERTIFICATE_URL = re.compile(
    r"https://sns\.[a-z]{2}(-[a-z]+)+-[0-9]{1,2}\.amazonaws\.com(\.cn)?/[A-Za-z0-9_.-]+\.pem"
)

# Who they are for: sns.amazonaws.com; in some regions sns-signing.<region>.amazonaws.com and others
CERTIFICATE_NAME = re.compile(r"sns(-[a-z0-9-]+)?(\.[a-z0-9-]+)?\.amazonaws\.com(\.cn)?")

# What SES publishes, in place of JSON, to a topic that is chosen for events.
TOPIC_VALIDATED = "Successfully validated SNS topic for Amazon SES event publishing."

# eventType or notificationType -> event type
EVENT_TYPES = {
    "Bounce": EventType.BOUNCED,
    "Click": EventType.CLICKED,
    "Complaint": EventType.COMPLAINED,
    "Delivery": EventType.DELIVERED,
    "DeliveryDelay": EventType.DEFERRED,
    "Open": EventType.OPENED,
    "Reject": EventType.REJECTED,
    "Rendering Failure": EventType.FAILED,
    "Send": EventType.SENT,
    "Subscription": EventType.UNKNOWN,  # refined by _subscription_event_type
}

REJECT_REASONS = {
    "Bounce": RejectReason.BOUNCED,
    "Complaint": RejectReason.SPAM,
    "Reject": RejectReason.BLOCKED,
}

# The object with the details of an event, where that isn't its type in lower case
DETAILS = {"DeliveryDelay": "deliveryDelay", "Rendering Failure": "failure"}

# The list of recipients in the details, where an event isn't about all of mail.destination
RECIPIENTS = {
    "Bounce": "bouncedRecipients",
    "Complaint": "complainedRecipients",
    "Delivery": "recipients",
    "DeliveryDelay": "delayedRecipients",
}

# status of receipt.spamVerdict, in lower case -> spam_detected; all others are None
SPAM_VERDICTS = {"pass": False, "fail": True}

# Metadata of objects that SES has encrypted
# https://docs.aws.amazon.com/amazon-s3-encryption-client/latest/developerguide/concepts.html
ENCRYPTION_METADATA = "x-amz-key-v2"


# -- Optional packages ------------------------------------------------------------------------

_BOTO3 = "boto3"
_S3_ENCRYPTION = "amazon-s3-encryption-client-python"

# Name -> module that it's in (itself, if that's the name), package to install
_LAZY = {
    "boto3": ("boto3", _BOTO3),
    "ClientError": ("botocore.exceptions", _BOTO3),
    "BotoCoreError": ("botocore.exceptions", _BOTO3),
    "S3EncryptionClient": ("s3_encryption", _S3_ENCRYPTION),
    "S3EncryptionClientConfig": ("s3_encryption", _S3_ENCRYPTION),
    "CommitmentPolicy": ("s3_encryption.materials.materials", _S3_ENCRYPTION),
    "KmsKeyring": ("s3_encryption.materials.kms_keyring", _S3_ENCRYPTION),
    "S3EncryptionClientSecurityError": ("s3_encryption.exceptions", _S3_ENCRYPTION),
}

# Where this module itself looks those names up, so that tests can patch them.
_this_module: Any = sys.modules[__name__]


def __getattr__(name: str) -> Any:
    if name == "AnymailBotoClientAPIError":
        return _client_api_error_class()
    if name == "AnymailBotoClientSecurityError":
        return _security_error_class()
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module_name, package = _LAZY[name]
    try:
        module = import_module(module_name)
    except ImportError as err:
        raise missing_package(package) from err
    return module if name == module_name else getattr(module, name)


@cache
def _client_api_error_class() -> type[AnymailAPIError]:
    class AnymailBotoClientAPIError(AnymailAPIError, _this_module.ClientError):  # type: ignore[misc]
        """An AnymailAPIError that is the botocore ClientError which caused it, too."""

        def __init__(self, text: str, *, client_error: Any, **kwargs: Any) -> None:
            super().__init__(
                response=client_error.response,
                error_response=client_error.response,
                operation_name=client_error.operation_name,
                **kwargs,
            )
            self.args = (text,)

    return _at_module_level(AnymailBotoClientAPIError)


@cache
def _security_error_class() -> type[AnymailAPIError]:
    class AnymailBotoClientSecurityError(
        AnymailAPIError,
        _this_module.S3EncryptionClientSecurityError,  # type: ignore[misc]
    ):
        """An AnymailAPIError that is an S3EncryptionClientSecurityError, too."""

    return _at_module_level(AnymailBotoClientSecurityError)


def _at_module_level(cls: type[AnymailAPIError]) -> type[AnymailAPIError]:
    cls.__qualname__ = cls.__name__  # for pickle
    return cls


# -- SNS --------------------------------------------------------------------------------------


class AmazonSESBaseWebhookView(CallsAWS, SNSBaseWebhookView):
    """Handles the SNS messages that SES events come in.

    Raises AnymailImproperlyInstalled without boto3, or without cryptography if signatures are to
    be verified.
    """

    esp_name = "Amazon SES"
    event_id_is_unique = False  # It's that of the SNS message, which can have several recipients.
    install_extra = INSTALL_EXTRA
    certificate_url = CERTIFICATE_URL
    not_events = frozenset({TOPIC_VALIDATED})

    verify_sns_signature: bool | None = setting(
        "Whether the webhooks verify SNS's signatures. See :ref:`amazon-ses-signatures`.",
        default=None,
        default_text="if :setting:`REQUIRE_WEBHOOK_AUTH` is ``True``",
    )

    def __init__(self, **kwargs: Any) -> None:
        read_settings(self, kwargs)
        self.session_params, self.client_params = boto3_params(
            self.esp_name, self.session_params, self.client_params
        )
        super().__init__(**kwargs)

    @property
    def verifies_signatures(self) -> bool:
        if self.verify_sns_signature is None:
            return bool(self.require_webhook_auth)
        return bool(self.verify_sns_signature)

    @property
    def signature_setting(self) -> str:
        return setting_name("verify_sns_signature", self.esp_name)

    def check_certificate(self, certificate: Any, now: datetime) -> None:
        # That it was fetched from AWS by https is what makes it trustworthy.
        names = certificate_names(certificate)
        if not any(CERTIFICATE_NAME.fullmatch(name) for name in names):
            raise AnymailWebhookValidationFailure(
                f"Amazon SES webhook call with a certificate for {names!r:.200}, not for SNS"
            )

    def confirm_subscription(self, region: str, sns_message: dict[str, Any]) -> None:
        # A topic is known only in its own region, which need not be the one that sends email.
        client = self._create_client(self._create_session(), "sns", region_name=region)
        with closing(client) as sns_client:
            sns_client.confirm_subscription(
                TopicArn=sns_message["TopicArn"],
                Token=sns_message["Token"],
                AuthenticateOnUnsubscribe="true",
            )

    def _create_session(self) -> Any:
        with configuration_errors(self.esp_name):
            return _this_module.boto3.session.Session(**(self.session_params or {}))

    def _create_client(self, session: Any, service_name: str, **params: Any) -> Any:
        """Return a new boto3 client. It must be closed.

        REQUESTS_TIMEOUT applies, except for what CLIENT_PARAMS has for it.
        """
        from botocore.config import Config

        timeout = Downloads(self.esp_name).timeout
        connect, read = timeout if isinstance(timeout, tuple) else (timeout, timeout)
        client_params = {**(self.client_params or {}), **params}
        config = Config(connect_timeout=connect, read_timeout=read)
        client_params["config"] = config.merge(client_params["config"])
        with configuration_errors(self.esp_name):
            return session.client(service_name, **client_params)


# -- Tracking ---------------------------------------------------------------------------------


class AmazonSESTrackingWebhookView(AmazonSESBaseWebhookView):
    """Receives SES's event publishing, and its older notifications about identities."""

    signal = tracking

    def esp_to_anymail_events(
        self, ses_event: dict[str, Any], sns_message: dict[str, Any]
    ) -> list[AnymailTrackingEvent]:
        ses_type = as_str(ses_event.get("eventType") or ses_event.get("notificationType")) or ""
        if ses_type == "Received":
            raise AnymailConfigurationError(
                "You seem to have set an Amazon SES *inbound* receipt rule to publish to an SNS "
                "topic that posts to Anymail's Amazon SES *tracking* webhook URL. "
                f"(SNS TopicArn {sns_message.get('TopicArn')!s:.300})",
                docs="esps/amazon_ses#amazon-ses-inbound",
            )
        details = get_object(ses_event, DETAILS.get(ses_type, ses_type.lower()))
        if ses_type in RECIPIENTS:
            recipients = details.get(RECIPIENTS[ses_type])
            if not isinstance(recipients, list):
                raise AnymailWebhookValidationFailure(
                    f"No {RECIPIENTS[ses_type]} in Amazon SES {ses_type} event"
                )
        else:
            # Which of them has opened a message, or clicked in it, SES doesn't know.
            recipients = get_list(ses_event, "mail", "destination")

        event_type = EVENT_TYPES.get(ses_type, EventType.UNKNOWN)
        if ses_type == "Subscription":
            event_type = _subscription_event_type(details)
        headers = _mail_headers(ses_event)
        return [
            AnymailTrackingEvent(
                event_type=event_type,
                timestamp=as_iso_time(sns_message.get("Timestamp")),
                event_id=as_str(sns_message.get("MessageId")),
                esp_event=ses_event,
                message_id=as_str(get_path(ses_event, "mail", "messageId")),
                recipient=as_addr_spec(_address(recipient)),
                reject_reason=REJECT_REASONS.get(ses_type),
                description=_description(ses_type, details),
                mta_response=as_str(
                    get_path(recipient, "diagnosticCode") or details.get("smtpResponse")
                ),
                tags=_tags(headers),
                metadata=_metadata(headers),
                click_url=as_str(details.get("link")),
                user_agent=as_str(details.get("userAgent")),
            )
            for recipient in recipients
        ]


def _address(recipient: Any) -> Any:
    """Return the address in a list of recipients, which has either addresses or objects."""
    return get_path(recipient, "emailAddress") if isinstance(recipient, dict) else recipient


def _description(ses_type: str, details: dict[str, Any]) -> str | None:
    if ses_type == "Bounce":
        words = [details.get("bounceType"), details.get("bounceSubType")]
    elif ses_type == "Complaint":
        words = [details.get("complaintFeedbackType")]
    elif ses_type == "Reject":
        words = [details.get("reason")]
    elif ses_type == "Rendering Failure":
        words = [details.get("errorMessage")]
    elif ses_type == "DeliveryDelay":
        words = [ses_type, details.get("delayType")]
    elif ses_type == "Subscription" or ses_type not in EVENT_TYPES:
        words = [f"Amazon SES event {ses_type!r:.100}"]
    else:
        words = []
    return ": ".join(filter(None, map(as_str, words))) or None


def _subscription_event_type(details: dict[str, Any]) -> str:
    """Return what a recipient's new preferences for SES contact lists amount to.

    https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html#event-publishing-retrieving-sns-contents-subscription-object
    """
    before = _topic_preferences(details.get("oldTopicPreferences"))
    after = _topic_preferences(details.get("newTopicPreferences"))
    changed = {state for topic, state in after.items() if before.get(topic) != state}
    if changed == {"OptOut"}:
        return EventType.UNSUBSCRIBED
    if changed == {"OptIn"}:
        return EventType.SUBSCRIBED
    return EventType.UNKNOWN


def _topic_preferences(preferences: Any) -> dict[str, str]:
    """Return {topic: "OptIn" or "OptOut"}, or just the latter for "" if it's from all topics."""
    if get_path(preferences, "unsubscribeAll") is True:
        return {"": "OptOut"}
    return {
        "": "OptIn",
        **{
            as_word(topic.get("topicName")): as_word(topic.get("subscriptionStatus"))
            for name in ("topicDefaultSubscriptionStatus", "topicSubscriptionStatus")
            for topic in get_list(preferences, name)
            if isinstance(topic, dict)
        },
    }


def _mail_headers(ses_event: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the headers of the sent message, as far as SES includes them."""
    return [
        (as_word(header.get("name")).lower(), unfold(as_word(header.get("value"))))
        for header in get_list(ses_event, "mail", "headers")
        if isinstance(header, dict)
    ]


def _tags(headers: list[tuple[str, str]]) -> list[str]:
    return as_tags([rfc2047_decode(value) for name, value in headers if name == "x-tag"])


def _metadata(headers: list[tuple[str, str]]) -> dict[str, Any]:
    """Return the last metadata header that can be parsed; {} if there is none."""
    for name, value in reversed(headers):
        if name == "x-metadata":
            # Long words in it can have been sent as encoded-words.
            for text in (value, rfc2047_decode(value)):
                try:
                    return parse_json_object(text, "X-Metadata")
                except AnymailWebhookValidationFailure:
                    pass
    return {}


# -- Inbound ----------------------------------------------------------------------------------


class AmazonSESInboundWebhookView(AmazonSESBaseWebhookView):
    """Receives notifications of a receipt rule's SNS or S3 action."""

    signal = inbound

    inbound_kms_key_id: str | None = setting(
        "Id, ARN or alias of the KMS key that received messages are encrypted with. See "
        ":ref:`amazon-ses-encryption`.",
        default=None,
        default_text="they are not encrypted",
    )
    download_chunk_size: int = setting(
        "How many bytes of a received message are read from S3 at a time.",
        default=DEFAULT_DOWNLOAD_CHUNK_SIZE,
    )

    def esp_to_anymail_events(
        self, ses_event: dict[str, Any], sns_message: dict[str, Any]
    ) -> list[AnymailInboundEvent]:
        if ses_event.get("notificationType") != "Received":
            raise AnymailConfigurationError(
                "You seem to have set Amazon SES *sending* events or notifications to publish to "
                "an SNS topic that posts to Anymail's Amazon SES *inbound* webhook URL. "
                f"(SNS TopicArn {sns_message.get('TopicArn')!s:.300})",
                docs="esps/amazon_ses#amazon-ses-tracking",
            )
        message = self._get_message(ses_event, sns_message)
        message.envelope_sender = as_addr_spec(get_path(ses_event, "mail", "source"))
        recipients = get_list(ses_event, "receipt", "recipients")
        message.envelope_recipient = as_addr_spec(recipients[0]) if recipients else None
        verdict = as_word(get_path(ses_event, "receipt", "spamVerdict", "status"))
        message.spam_detected = SPAM_VERDICTS.get(verdict.lower())
        return [
            AnymailInboundEvent(
                event_type=EventType.INBOUND,
                timestamp=as_iso_time(get_path(ses_event, "mail", "timestamp")),
                event_id=as_str(get_path(ses_event, "mail", "messageId")),
                esp_event=ses_event,
                message=message,
            )
        ]

    def _get_message(
        self, ses_event: dict[str, Any], sns_message: dict[str, Any]
    ) -> AnymailInboundMessage:
        action = get_object(ses_event, "receipt", "action")
        action_type = action.get("type")
        if action_type == "SNS":
            content = ses_event.get("content") or ""
            if not isinstance(content, str):
                raise AnymailWebhookValidationFailure("Invalid content in Amazon SES webhook")
            if action.get("encoding") == "BASE64":
                return parse_base64_message(content, "content in Amazon SES webhook")
            return AnymailInboundMessage.parse_raw_mime(content)
        if action_type == "S3":
            bucket_name = as_word(action.get("bucketName"))
            object_key = as_word(action.get("objectKey"))
            if not bucket_name or not object_key:
                raise AnymailWebhookValidationFailure("No S3 object in Amazon SES webhook")
            return AnymailInboundMessage.parse_raw_mime_chunks(
                self.download_s3_object(bucket_name, object_key)
            )
        raise AnymailConfigurationError(
            f"Anymail's Amazon SES inbound webhook works only with the 'SNS' or 'S3' receipt rule "
            f"actions, not {action_type!r:.100}. "
            f"(SNS TopicArn {sns_message.get('TopicArn')!s:.300})",
            docs="esps/amazon_ses#amazon-ses-inbound",
        )

    def download_s3_object(self, bucket_name: str, object_key: str) -> Iterator[bytes]:
        """Yield the content of an S3 object in chunks, decrypted if there is a KMS key.

        With a key, the content is genuine only if it ends without an exception. Raises
        AnymailAPIError if it is larger than INBOUND_MAX_BYTES, or can't be downloaded or
        decrypted: AnymailBotoClientAPIError if AWS says why, AnymailBotoClientSecurityError if it
        was tampered with. Raises AnymailConfigurationError if it is encrypted, but there is no
        key.
        """
        downloads = Downloads(self.esp_name)
        with self._download_errors(f"S3 object '{bucket_name}:{object_key}'"), ExitStack() as stack:
            session = self._create_session()
            client = s3_client = stack.enter_context(closing(self._create_client(session, "s3")))
            # boto3 can make several attempts.
            s3_client.meta.events.register("before-send", downloads.check_limits)

            def close_body(parsed: dict[str, Any], **kwargs: Any) -> None:
                if (body := parsed.get("Body")) is not None:
                    stack.callback(body.close)

            # The encryption client does not, if it can't decrypt.
            s3_client.meta.events.register_first("after-call.s3.GetObject", close_body)
            if self.inbound_kms_key_id:
                kms_client = stack.enter_context(closing(self._create_client(session, "kms")))
                kms_client.meta.events.register("before-send", downloads.check_limits)
                client = self._create_encryption_client(s3_client, kms_client)
            response = client.get_object(Bucket=bucket_name, Key=object_key)
            body = stack.enter_context(closing(response["Body"]))
            if not self.inbound_kms_key_id and _is_encrypted(response):
                raise AnymailConfigurationError(
                    f"S3 object '{bucket_name}:{object_key}' is encrypted. Set "
                    "ANYMAIL['AMAZON_SES_INBOUND_KMS_KEY_ID'] in your Django settings to the KMS "
                    "key that is chosen in the Amazon SES receipt rule.",
                    docs="esps/amazon_ses#amazon-ses-encryption",
                )
            chunks = body.iter_chunks(self.download_chunk_size)
            yield from downloads.limit(chunks)

    def _create_encryption_client(self, s3_client: Any, kms_client: Any) -> Any:
        # SES encrypts without key commitment, and wraps keys in an older way. Delayed
        # authentication is what makes it possible to decrypt in chunks.
        return _this_module.S3EncryptionClient(
            s3_client,
            _this_module.S3EncryptionClientConfig(
                _this_module.KmsKeyring(
                    kms_client, self.inbound_kms_key_id, enable_legacy_wrapping_algorithms=True
                ),
                commitment_policy=(_this_module.CommitmentPolicy.REQUIRE_ENCRYPT_ALLOW_DECRYPT),
                enable_delayed_authentication=True,
            ),
        )

    @contextmanager
    def _download_errors(self, s3_object: str) -> Iterator[None]:
        """Raise what boto3 and the S3 encryption client raise as an AnymailAPIError."""
        view_name = type(self).__name__
        try:
            yield
        except (_this_module.BotoCoreError, _this_module.ClientError) as err:
            # The encryption client has errors of its own for those of AWS.
            errors = (err, err.__cause__)
            drop_tracebacks(err)  # boto3's functions have credentials in their variables.
            if self.inbound_kms_key_id and any(
                isinstance(error, _this_module.S3EncryptionClientSecurityError) for error in errors
            ):
                raise _security_error_class()(
                    f"Anymail {view_name} failed decrypting {s3_object}", esp_name=self.esp_name
                ) from err
            text = f"Anymail {view_name} couldn't download {s3_object}"
            for error in errors:
                if isinstance(error, _this_module.ClientError):
                    raise _client_api_error_class()(
                        text, client_error=error, esp_name=self.esp_name
                    ) from err
            raise AnymailAPIError(text, esp_name=self.esp_name) from err


def _is_encrypted(response: Mapping[str, Any]) -> bool:
    """Tell whether an S3 object is encrypted in a way that S3 doesn't decrypt itself."""
    return ENCRYPTION_METADATA in (response.get("Metadata") or {})

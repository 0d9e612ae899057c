"""What differs between the providers' webhooks, as data: adding a provider is one entry.

An entry makes the provider take part in test_contract.py. Its fixture pairs (see
tests/fixtures/README.rst) are picked up by test_fixtures.py.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl

from anymail.webhooks import sns

from . import sns_signing
from .harness import WebhookRequest

Tamper = Callable[[WebhookRequest], None]


@dataclass(frozen=True)
class WebhookView:
    """One webhook URL."""

    kind: Literal["tracking", "inbound"]
    url_name: str
    """Name of the URL pattern, with the namespace."""
    view: str
    """Dotted path of the view class."""
    signature: Literal["none", "required", "optional"] = "none"
    """Whether the view checks signatures; "optional": only if there is a setting with the key."""
    missing_auth_status: int = 400
    """Status of the answer if basic auth is required and there is none."""
    extra_methods: Mapping[str, int] = field(default_factory=dict)
    """Statuses for HTTP methods that answer otherwise than all others' 405."""
    accepts: frozenset[str] = frozenset()
    """The malformed bodies (keys of test_contract.MALFORMED) that get a 200 all the same."""
    taken_for_other_kind: frozenset[str] = frozenset()
    """Those that raise the error about calls of the other kind."""
    refuses_other_kind: bool = True
    """Whether calls of the other kind raise an error that names both."""
    message_can_be_missing: bool = False
    """Whether events for inbound messages can have none: if it's not in the call itself."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of as_view() to the same effect as the case's settings."""
    warnings: tuple[str, ...] = ()
    """Names of warning classes (in anymail.exceptions) issued with each call."""


@dataclass(frozen=True)
class WebhookCase:
    """One provider."""

    esp: str
    """Module in anymail.webhooks, and directory in tests/fixtures."""
    esp_name: str
    views: tuple[WebhookView, ...]
    packages: tuple[str, ...] = ()
    """Optional packages that the views need: without them, their tests are skipped."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Keys and such, for ANYMAIL."""
    other_settings: Mapping[str, Any] = field(default_factory=dict)
    """The same settings for another account: signatures made with ``settings`` are wrong."""
    needed_settings: Mapping[str, Any] = field(default_factory=dict)
    """What the views need beside keys for signatures: all tests have it."""
    required_setting: str = ""
    """The setting that the error names if there are none, where signatures are required."""
    sign: Callable[[WebhookRequest], None] | None = None
    """Adds a correct signature made with ``settings``, replacing one that is there."""
    signs_any_body: bool = False
    """Whether ``sign`` can be used with malformed bodies: because it only sets headers."""
    tampers: Mapping[str, Tamper] = field(default_factory=dict)
    """What makes a correctly signed call unacceptable: {description: function}."""

    def view(self, kind: str) -> WebhookView:
        for view in self.views:
            if view.kind == kind:
                return view
        raise AssertionError(f"{self.esp} has no {kind} webhook in tests/webhooks/cases.py")


# ---------------------------------------------------------------------------------------------
# Amazon SNS: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
# ---------------------------------------------------------------------------------------------


def amazon_ses_sign(request: WebhookRequest) -> None:
    sns.certificates.put(sns_signing.AMAZON_CERTIFICATE_URL, sns_signing.amazon_certificate())
    sns_signing.sign_message(
        request.json, sns_signing.shared_key(), sns_signing.AMAZON_CERTIFICATE_URL
    )


def _sns_tamper(name: str, value: Any) -> Tamper:
    def tamper(request: WebhookRequest) -> None:
        request.json[name] = value

    return tamper


def _sns_without(name: str) -> Tamper:
    def tamper(request: WebhookRequest) -> None:
        del request.json[name]

    return tamper


SNS_TAMPERS = {
    "no signature": _sns_without("Signature"),
    "no version": _sns_without("SignatureVersion"),
    "no certificate": _sns_without("SigningCertURL"),
    "no timestamp": _sns_without("Timestamp"),
    "empty signature": _sns_tamper("Signature", ""),
    "forged": _sns_tamper("Signature", base64.b64encode(b"0" * 256).decode()),
    "not base64": _sns_tamper("Signature", "abcde"),
    "signature not ASCII": _sns_tamper("Signature", "é" * 64),
    "signature not text": _sns_tamper("Signature", 5),
    "other hash": _sns_tamper("SignatureVersion", "2"),
    "unknown version": _sns_tamper("SignatureVersion", "3"),
    "version not text": _sns_tamper("SignatureVersion", 1),
    "other timestamp": _sns_tamper("Timestamp", "2031-03-04T05:06:07.090Z"),
    "other message": _sns_tamper("Message", "{}"),
    "other subject": _sns_tamper("Subject", "Made up"),
    "other host": _sns_tamper("SigningCertURL", "https://sns.example.com/certificate.pem"),
    "certificate not text": _sns_tamper("SigningCertURL", ["https://sns.example.com/c.pem"]),
}

AMAZON_SES_SETTINGS = {
    "AMAZON_SES_VERIFY_SNS_SIGNATURE": True,
    "AMAZON_SES_SNS_TOPIC_ARNS": ["arn:aws:sns:*:123456789012:ses-*"],
}

AMAZON_SES = WebhookCase(
    esp="amazon_ses",
    esp_name="Amazon SES",
    views=(
        WebhookView(
            "tracking",
            "anymail:amazon_ses_tracking_webhook",
            "anymail.webhooks.amazon_ses.AmazonSESTrackingWebhookView",
            signature="optional" if sns_signing.CAN_SIGN else "none",
            missing_auth_status=401,  # asks Amazon SNS for the credentials
            options={
                "auto_confirm_sns_subscriptions": False,
                "verify_sns_signature": sns_signing.CAN_SIGN,
                "sns_topic_arns": "arn:aws:sns:eu-central-1:123456789012:ses-events",
            },
        ),
        WebhookView(
            "inbound",
            "anymail:amazon_ses_inbound_webhook",
            "anymail.webhooks.amazon_ses.AmazonSESInboundWebhookView",
            signature="optional" if sns_signing.CAN_SIGN else "none",
            missing_auth_status=401,
            options={
                "inbound_kms_key_id": "key-id",
                "download_chunk_size": 1000,
                "verify_sns_signature": sns_signing.CAN_SIGN,
            },
        ),
    ),
    packages=("boto3",),
    settings=AMAZON_SES_SETTINGS if sns_signing.CAN_SIGN else {},
    other_settings={
        **AMAZON_SES_SETTINGS,
        "AMAZON_SES_SNS_TOPIC_ARNS": ["arn:aws:sns:*:999999999999:ses-*"],
    },
    sign=amazon_ses_sign if sns_signing.CAN_SIGN else None,
    tampers=SNS_TAMPERS,
)


BREVO = WebhookCase(
    esp="brevo",
    esp_name="Brevo",
    views=(
        WebhookView(
            "tracking",
            "anymail:brevo_tracking_webhook",
            "anymail.webhooks.brevo.BrevoTrackingWebhookView",
            accepts=frozenset({"JSON empty object", "JSON empty array"}),
        ),
        WebhookView(
            "inbound",
            "anymail:brevo_inbound_webhook",
            "anymail.webhooks.brevo.BrevoInboundWebhookView",
            accepts=frozenset({"JSON empty array"}),
            taken_for_other_kind=frozenset({"JSON empty object"}),
        ),
    ),
    needed_settings={"BREVO_API_KEY": "brevo-api-key"},
)


# ---------------------------------------------------------------------------------------------
# MailerSend: https://developers.mailersend.com/api/v1/webhooks#security
# ---------------------------------------------------------------------------------------------

MAILERSEND_SECRETS = {
    "tracking": "mailersend-signing-secret",
    "inbound": "mailersend-inbound-secret",
}


def mailersend_signature(request: WebhookRequest, secret: str) -> str:
    return hmac.new(secret.encode(), request.body, hashlib.sha256).hexdigest()


def mailersend_sign(request: WebhookRequest) -> None:
    secret = MAILERSEND_SECRETS[request.kind]
    request.headers["Signature"] = mailersend_signature(request, secret)


def _mailersend_tamper(signature: str | None) -> Tamper:
    def tamper(request: WebhookRequest) -> None:
        if signature is None:
            del request.headers["Signature"]
        else:
            request.headers["Signature"] = signature

    return tamper


def _mailersend_upper(request: WebhookRequest) -> None:
    request.headers["Signature"] = request.headers["Signature"].upper()


def _mailersend_other_body(request: WebhookRequest) -> None:
    request.text = request.body.decode().replace("2026", "2027", 1)
    request.json = None


def _mailersend_other_kind(request: WebhookRequest) -> None:
    [secret] = (secret for kind, secret in MAILERSEND_SECRETS.items() if kind != request.kind)
    request.headers["Signature"] = mailersend_signature(request, secret)


def _mailersend_test_secret(request: WebhookRequest) -> None:
    # That is only for calls that test the URL.
    secret = "test_Am3L1GuOIc4blLUuHqAPxxwkZaJyEk8G"
    request.headers["Signature"] = mailersend_signature(request, secret)


MAILERSEND = WebhookCase(
    esp="mailersend",
    esp_name="MailerSend",
    views=(
        WebhookView(
            "tracking",
            "anymail:mailersend_tracking_webhook",
            "anymail.webhooks.mailersend.MailerSendTrackingWebhookView",
            signature="required",
            accepts=frozenset({"JSON empty object"}),
            options={"signing_secret": MAILERSEND_SECRETS["tracking"]},
        ),
        WebhookView(
            "inbound",
            "anymail:mailersend_inbound_webhook",
            "anymail.webhooks.mailersend.MailerSendInboundWebhookView",
            signature="required",
            taken_for_other_kind=frozenset({"JSON empty object"}),
            options={"inbound_secret": MAILERSEND_SECRETS["inbound"]},
        ),
    ),
    settings={
        "MAILERSEND_SIGNING_SECRET": MAILERSEND_SECRETS["tracking"],
        "MAILERSEND_INBOUND_SECRET": MAILERSEND_SECRETS["inbound"],
    },
    other_settings={
        "MAILERSEND_SIGNING_SECRET": "another-signing-secret",
        "MAILERSEND_INBOUND_SECRET": "another-inbound-secret",
    },
    required_setting="MAILERSEND_(SIGNING|INBOUND)_SECRET",
    sign=mailersend_sign,
    signs_any_body=True,
    tampers={
        "forged": _mailersend_tamper("0" * 64),
        "no signature": _mailersend_tamper(None),
        "empty": _mailersend_tamper(""),
        "not ASCII": _mailersend_tamper("é" * 64),
        "upper case": _mailersend_upper,
        "other body": _mailersend_other_body,
        "secret of the other webhook": _mailersend_other_kind,
        "secret of test calls": _mailersend_test_secret,
    },
)


# ---------------------------------------------------------------------------------------------
# Mailgun: https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks
# ---------------------------------------------------------------------------------------------

MAILGUN_KEY = "mailgun-signing-key"


def _mailgun_set(request: WebhookRequest, **values: Any) -> None:
    """Set parts of the signature; None removes them."""
    if request.json is not None:
        signature = request.json.setdefault("signature", {})
        for name, value in values.items():
            if value is None:
                signature.pop(name, None)
            else:
                signature[name] = value
    else:
        for name, value in values.items():
            request.set_field(name, value)


def _mailgun_get(request: WebhookRequest, name: str) -> Any:
    if request.json is not None:
        return request.json.get("signature", {}).get(name)
    return request.get_field(name)


def mailgun_sign(request: WebhookRequest) -> None:
    timestamp = _mailgun_get(request, "timestamp")
    token = _mailgun_get(request, "token")
    if timestamp is None:
        timestamp = "1893456000"
        _mailgun_set(request, timestamp=timestamp)
    if token is None:
        token = "made-for-this-test"
        _mailgun_set(request, token=token)
    data = f"{timestamp}{token}".encode()
    signature = hmac.new(MAILGUN_KEY.encode(), data, hashlib.sha256).hexdigest()
    _mailgun_set(request, signature=signature)


def _mailgun_tamper(**values: Any) -> Tamper:
    return lambda request: _mailgun_set(request, **values)


def _mailgun_upper(request: WebhookRequest) -> None:
    _mailgun_set(request, signature=_mailgun_get(request, "signature").upper())


MAILGUN = WebhookCase(
    esp="mailgun",
    esp_name="Mailgun",
    views=(
        WebhookView(
            "tracking",
            "anymail:mailgun_tracking_webhook",
            "anymail.webhooks.mailgun.MailgunTrackingWebhookView",
            signature="required",
            options={"webhook_signing_key": MAILGUN_KEY},
        ),
        WebhookView(
            "inbound",
            "anymail:mailgun_inbound_webhook",
            "anymail.webhooks.mailgun.MailgunInboundWebhookView",
            signature="required",
            options={"webhook_signing_key": MAILGUN_KEY},
        ),
    ),
    settings={"MAILGUN_WEBHOOK_SIGNING_KEY": MAILGUN_KEY},
    other_settings={"MAILGUN_WEBHOOK_SIGNING_KEY": "another-signing-key"},
    required_setting="MAILGUN_WEBHOOK_SIGNING_KEY",
    sign=mailgun_sign,
    tampers={
        "forged": _mailgun_tamper(signature="0" * 64),
        "other token": _mailgun_tamper(token="another-token"),
        "other timestamp": _mailgun_tamper(timestamp="1893456001"),
        "no signature": _mailgun_tamper(signature=None),
        "no token": _mailgun_tamper(token=None),
        "no timestamp": _mailgun_tamper(timestamp=None),
        "empty": _mailgun_tamper(signature=""),
        "upper case": _mailgun_upper,
        "not ASCII": _mailgun_tamper(signature="é" * 64),
        "token not ASCII": _mailgun_tamper(token="tökén"),
    },
)


MAILJET = WebhookCase(
    esp="mailjet",
    esp_name="Mailjet",
    views=(
        WebhookView(
            "tracking",
            "anymail:mailjet_tracking_webhook",
            "anymail.webhooks.mailjet.MailjetTrackingWebhookView",
            accepts=frozenset({"JSON empty object", "JSON empty array"}),
        ),
        WebhookView(
            "inbound",
            "anymail:mailjet_inbound_webhook",
            "anymail.webhooks.mailjet.MailjetInboundWebhookView",
            accepts=frozenset({"JSON empty object"}),
        ),
    ),
)


# ---------------------------------------------------------------------------------------------
# Mailtrap: https://docs.mailtrap.io/email-api-smtp/webhooks
# ---------------------------------------------------------------------------------------------

MAILTRAP_SIGNATURE = "Mailtrap-Signature"
MAILTRAP_SECRETS = {
    "tracking": "0123456789abcdef0123456789abcdef",
    "inbound": "fedcba9876543210fedcba9876543210",
}


def mailtrap_signature(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def mailtrap_sign(request: WebhookRequest) -> None:
    request.headers[MAILTRAP_SIGNATURE] = mailtrap_signature(
        MAILTRAP_SECRETS[request.kind], request.body
    )


def _mailtrap_tamper(value: str | None | Callable[[str], str]) -> Tamper:
    def tamper(request: WebhookRequest) -> None:
        original = request.headers.pop(MAILTRAP_SIGNATURE)
        if value is not None:
            request.headers[MAILTRAP_SIGNATURE] = value(original) if callable(value) else value

    return tamper


def _mailtrap_other_body(request: WebhookRequest) -> None:
    request.raw = request.body + b" "
    request.json = request.text = None


def _mailtrap_other_kind(request: WebhookRequest) -> None:
    [secret] = {*MAILTRAP_SECRETS.values()} - {MAILTRAP_SECRETS[request.kind]}
    request.headers[MAILTRAP_SIGNATURE] = mailtrap_signature(secret, request.body)


def _mailtrap_empty_key(request: WebhookRequest) -> None:
    request.headers[MAILTRAP_SIGNATURE] = mailtrap_signature("", request.body)


MAILTRAP = WebhookCase(
    esp="mailtrap",
    esp_name="Mailtrap",
    views=(
        WebhookView(
            "tracking",
            "anymail:mailtrap_tracking_webhook",
            "anymail.webhooks.mailtrap.MailtrapTrackingWebhookView",
            signature="optional",
            accepts=frozenset({"JSON empty object"}),
            options={"tracking_secret": MAILTRAP_SECRETS["tracking"]},
        ),
        WebhookView(
            "inbound",
            "anymail:mailtrap_inbound_webhook",
            "anymail.webhooks.mailtrap.MailtrapInboundWebhookView",
            signature="optional",
            accepts=frozenset({"JSON empty object"}),
            options={
                "inbound_secret": MAILTRAP_SECRETS["inbound"],
                "api_token": "other-token",
                "api_url": "https://mailtrap.io/api",
            },
        ),
    ),
    settings={
        "MAILTRAP_TRACKING_SECRET": MAILTRAP_SECRETS["tracking"],
        "MAILTRAP_INBOUND_SECRET": MAILTRAP_SECRETS["inbound"],
    },
    other_settings={
        "MAILTRAP_TRACKING_SECRET": "0123456789abcdef0123456789abcdee",
        "MAILTRAP_INBOUND_SECRET": "fedcba9876543210fedcba9876543211",
    },
    needed_settings={"MAILTRAP_API_TOKEN": "mailtrap-api-token"},
    sign=mailtrap_sign,
    signs_any_body=True,
    tampers={
        "forged": _mailtrap_tamper("0" * 64),
        "no signature": _mailtrap_tamper(None),
        "empty": _mailtrap_tamper(""),
        "upper case": _mailtrap_tamper(str.upper),
        "cut off": _mailtrap_tamper(lambda signature: signature[:-1]),
        "with a prefix": _mailtrap_tamper(lambda signature: f"sha256={signature}"),
        "not ASCII": _mailtrap_tamper("\xe9" * 64),
        "other body": _mailtrap_other_body,
        "the other webhook's secret": _mailtrap_other_kind,
        "empty key": _mailtrap_empty_key,
    },
)


# ---------------------------------------------------------------------------------------------
# Mandrill: https://mailchimp.com/developer/transactional/guides/track-respond-activity-webhooks/
# ---------------------------------------------------------------------------------------------

MANDRILL_KEY = "mandrill-webhook-key"
MANDRILL_URL = "https://user:password@www.example.com/anymail/mandrill/"


def mandrill_signature(url: str, fields: Mapping[str, str], key: str = MANDRILL_KEY) -> str:
    data = url + "".join(name + fields[name] for name in sorted(fields))
    return base64.b64encode(hmac.new(key.encode(), data.encode(), hashlib.sha1).digest()).decode()


def mandrill_sign(request: WebhookRequest) -> None:
    pairs: list[Any] = []
    if request.form is not None:
        pairs = request.form
    elif request.effective_content_type.startswith("application/x-www-form-urlencoded"):
        pairs = parse_qsl(request.body.decode("ascii", "replace"), keep_blank_values=True)
    request.headers["X-Mandrill-Signature"] = mandrill_signature(MANDRILL_URL, dict(pairs))


def _mandrill_header(value: Callable[[str], str] | None) -> Tamper:
    def tamper(request: WebhookRequest) -> None:
        signature = request.headers.pop("X-Mandrill-Signature")
        if value is not None:
            request.headers["X-Mandrill-Signature"] = value(signature)

    return tamper


def _mandrill_events(request: WebhookRequest) -> None:
    events = request.get_field("mandrill_events") or ""
    request.set_field("mandrill_events", events.replace("}]", '},{"event":"send"}]'))


def _mandrill_repeated(request: WebhookRequest) -> None:
    assert request.form is not None
    request.form.append(["mandrill_events", "[]"])


_MANDRILL_OPTIONS = {"webhook_key": MANDRILL_KEY, "webhook_url": MANDRILL_URL}

MANDRILL = WebhookCase(
    esp="mandrill",
    esp_name="Mandrill",
    views=(
        WebhookView(
            "tracking",
            "anymail:mandrill_webhook",
            "anymail.webhooks.mandrill.MandrillCombinedWebhookView",
            signature="required",
            refuses_other_kind=False,
            options=_MANDRILL_OPTIONS,
        ),
        WebhookView(
            "inbound",
            "anymail:mandrill_webhook",
            "anymail.webhooks.mandrill.MandrillCombinedWebhookView",
            signature="required",
            refuses_other_kind=False,
            options=_MANDRILL_OPTIONS,
        ),
    ),
    settings={"MANDRILL_WEBHOOK_KEY": MANDRILL_KEY, "MANDRILL_WEBHOOK_URL": MANDRILL_URL},
    other_settings={
        "MANDRILL_WEBHOOK_KEY": "another-webhook-key",
        "MANDRILL_WEBHOOK_URL": MANDRILL_URL,
    },
    required_setting="MANDRILL_WEBHOOK_KEY",
    sign=mandrill_sign,
    signs_any_body=True,
    tampers={
        "forged": _mandrill_header(lambda signature: "A" * 27 + "="),
        "not base64": _mandrill_header(lambda signature: base64.b64decode(signature).hex()),
        "cut off": _mandrill_header(lambda signature: signature[:-1]),
        "lower case": _mandrill_header(str.lower),
        "empty": _mandrill_header(lambda signature: ""),
        "not ASCII": _mandrill_header(lambda signature: "\xe9" * 28),
        "no signature": _mandrill_header(None),
        "other events": _mandrill_events,
        "events twice": _mandrill_repeated,
        "additional field": lambda request: request.set_field("extra", ""),
        "additional field with value": lambda request: request.set_field("z", "1"),
    },
)


# ---------------------------------------------------------------------------------------------
# Postal: https://github.com/postalserver/postal/blob/main/lib/postal/http.rb
# ---------------------------------------------------------------------------------------------

POSTAL_SIGNATURE = "X-Postal-Signature"

try:
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
except ImportError:
    # Without this package, Postal's webhooks work no more than it takes to say so.
    postal_private_key = postal_other_private_key = None
else:
    postal_private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    postal_other_private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def postal_key(private_key: Any) -> str:
    """Return the public key as Postal shows it; "" without the cryptography package."""
    if private_key is None:
        return ""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def postal_signature(
    body: bytes, private_key: Any = postal_private_key, digest: str = "SHA1"
) -> str:
    from cryptography.hazmat.primitives import hashes

    signature = private_key.sign(body, padding.PKCS1v15(), getattr(hashes, digest)())
    return base64.b64encode(signature).decode()


def postal_sign(request: WebhookRequest) -> None:
    request.headers[POSTAL_SIGNATURE] = postal_signature(request.body)


def _postal_tamper(value: str | None | Callable[[WebhookRequest], str]) -> Tamper:
    def tamper(request: WebhookRequest) -> None:
        if value is None:
            del request.headers[POSTAL_SIGNATURE]
        else:
            request.headers[POSTAL_SIGNATURE] = value(request) if callable(value) else value

    return tamper


def _postal_other_body(request: WebhookRequest) -> None:
    request.raw = request.body + b" "
    request.json = request.text = None


POSTAL = WebhookCase(
    esp="postal",
    esp_name="Postal",
    views=(
        WebhookView(
            "tracking",
            "anymail:postal_tracking_webhook",
            "anymail.webhooks.postal.PostalTrackingWebhookView",
            signature="required",
            accepts=frozenset({"JSON empty object"}),
            options={"webhook_key": postal_key(postal_private_key)},
        ),
        WebhookView(
            "inbound",
            "anymail:postal_inbound_webhook",
            "anymail.webhooks.postal.PostalInboundWebhookView",
            signature="required",
            options={"webhook_key": postal_key(postal_private_key)},
        ),
    ),
    packages=("cryptography",),
    settings={"POSTAL_WEBHOOK_KEY": postal_key(postal_private_key)},
    other_settings={"POSTAL_WEBHOOK_KEY": postal_key(postal_other_private_key)},
    required_setting="POSTAL_WEBHOOK_KEY",
    sign=postal_sign,
    signs_any_body=True,
    tampers={
        "no signature": _postal_tamper(None),
        "empty": _postal_tamper(""),
        "forged": _postal_tamper(base64.b64encode(b"0" * 256).decode()),
        "too short": _postal_tamper(base64.b64encode(b"0" * 20).decode()),
        "not base64": _postal_tamper("abcde"),
        "garbage": _postal_tamper("?!"),
        "not ASCII": _postal_tamper("\xe9" * 344),
        "cut off": _postal_tamper(lambda request: postal_signature(request.body)[:-4]),
        "hex": _postal_tamper(
            lambda request: base64.b64decode(postal_signature(request.body)).hex()
        ),
        "SHA-256": _postal_tamper(lambda request: postal_signature(request.body, digest="SHA256")),
        "other key": _postal_tamper(
            lambda request: postal_signature(request.body, postal_other_private_key)
        ),
        "other body": _postal_other_body,
    },
)


POSTMARK = WebhookCase(
    esp="postmark",
    esp_name="Postmark",
    views=(
        WebhookView(
            "tracking",
            "anymail:postmark_tracking_webhook",
            "anymail.webhooks.postmark.PostmarkTrackingWebhookView",
            accepts=frozenset({"JSON empty object"}),
        ),
        WebhookView(
            "inbound",
            "anymail:postmark_inbound_webhook",
            "anymail.webhooks.postmark.PostmarkInboundWebhookView",
            accepts=frozenset({"JSON empty object"}),
        ),
    ),
)


# ---------------------------------------------------------------------------------------------
# Resend: https://docs.svix.com/receiving/verifying-payloads/how-manual
# ---------------------------------------------------------------------------------------------

RESEND_SECRETS = {
    # base64 of what is signed with
    "tracking": "whsec_cmVzZW5kLXRyYWNraW5nLWtleQ==",
    "inbound": "whsec_cmVzZW5kLWluYm91bmQta2V5LjE=",
}


def resend_signature(
    secret: str, message_id: str, timestamp: float, body: bytes, version: str = "v1"
) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{math.floor(timestamp)}.".encode() + body
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return f"{version},{base64.b64encode(digest).decode()}"


def resend_sign(request: WebhookRequest) -> None:
    message_id = request.headers.setdefault("svix-id", "msg_made-for-this-test")
    timestamp = int(time.time())
    request.headers["svix-timestamp"] = str(timestamp)
    request.headers["svix-signature"] = resend_signature(
        RESEND_SECRETS[request.kind], message_id, timestamp, request.body
    )


def _resend_tamper(name: str, value: str | None | Callable[[str], str]) -> Tamper:
    def tamper(request: WebhookRequest) -> None:
        original = request.headers.pop(name)
        if value is not None:
            request.headers[name] = value(original) if callable(value) else value

    return tamper


def _resend_at(offset: float) -> Tamper:
    """Sign correctly, with another time than now."""

    def tamper(request: WebhookRequest) -> None:
        timestamp = int(time.time() + offset)
        request.headers["svix-timestamp"] = str(timestamp)
        request.headers["svix-signature"] = resend_signature(
            RESEND_SECRETS[request.kind], request.headers["svix-id"], timestamp, request.body
        )

    return tamper


def _resend_other_kind(request: WebhookRequest) -> None:
    kind = request.kind
    request.kind = "inbound" if kind == "tracking" else "tracking"
    resend_sign(request)
    request.kind = kind


RESEND = WebhookCase(
    esp="resend",
    esp_name="Resend",
    views=(
        WebhookView(
            "tracking",
            "anymail:resend_tracking_webhook",
            "anymail.webhooks.resend.ResendTrackingWebhookView",
            signature="optional",
            # Resend sends all events that are ticked for a URL.
            refuses_other_kind=False,
            options={"signing_secret": RESEND_SECRETS["tracking"]},
        ),
        WebhookView(
            "inbound",
            "anymail:resend_inbound_webhook",
            "anymail.webhooks.resend.ResendInboundWebhookView",
            signature="optional",
            taken_for_other_kind=frozenset({"JSON empty object"}),
            message_can_be_missing=True,
            options={"inbound_secret": RESEND_SECRETS["inbound"]},
        ),
    ),
    settings={
        "RESEND_SIGNING_SECRET": RESEND_SECRETS["tracking"],
        "RESEND_INBOUND_SECRET": RESEND_SECRETS["inbound"],
    },
    other_settings={
        "RESEND_SIGNING_SECRET": "whsec_b3RoZXI=",
        "RESEND_INBOUND_SECRET": "whsec_b3RoZXI=",
    },
    needed_settings={"RESEND_API_KEY": "resend-api-key"},
    sign=resend_sign,
    signs_any_body=True,
    tampers={
        "no id": _resend_tamper("svix-id", None),
        "no timestamp": _resend_tamper("svix-timestamp", None),
        "no signature": _resend_tamper("svix-signature", None),
        "empty id": _resend_tamper("svix-id", ""),
        "empty timestamp": _resend_tamper("svix-timestamp", ""),
        "empty signature": _resend_tamper("svix-signature", ""),
        "other id": _resend_tamper("svix-id", "msg_other"),
        "id not ASCII": _resend_tamper("svix-id", "\xe9"),
        "other timestamp": _resend_tamper("svix-timestamp", lambda value: str(int(value) + 1)),
        "timestamp not a number": _resend_tamper("svix-timestamp", lambda value: f"{value}x"),
        "timestamp NaN": _resend_tamper("svix-timestamp", "nan"),
        "timestamp infinite": _resend_tamper("svix-timestamp", "-inf"),
        "timestamp not ASCII": _resend_tamper("svix-timestamp", "\xe9"),
        "forged": _resend_tamper("svix-signature", "v1," + "A" * 43 + "="),
        "other version": _resend_tamper("svix-signature", lambda value: f"v2{value[2:]}"),
        "no version": _resend_tamper("svix-signature", lambda value: value[3:]),
        "only a version": _resend_tamper("svix-signature", "v1,"),
        "no comma": _resend_tamper("svix-signature", "v1"),
        "not base64": _resend_tamper("svix-signature", "v1,=="),
        "signature not ASCII": _resend_tamper("svix-signature", "v1,\xe9"),
        "cut off": _resend_tamper("svix-signature", lambda value: value[:-4]),
        "lower case": _resend_tamper("svix-signature", str.lower),
        "stale": _resend_at(-305),
        "in the future": _resend_at(305),
        "secret of the other webhook": _resend_other_kind,
        "other body": lambda request: request.json.update(more=1),
    },
)


# ---------------------------------------------------------------------------------------------
# Scaleway: https://www.scaleway.com/en/docs/topics-and-events/reference-content/verifying-webhooks/
# ---------------------------------------------------------------------------------------------


def scaleway_sign(request: WebhookRequest) -> None:
    url = sns_signing.SCALEWAY_CERTIFICATE_URL
    sns.certificates.put(url, sns_signing.scaleway_certificate())
    sns_signing.sign_message(request.json, sns_signing.shared_key(), url)


SCALEWAY_SETTINGS: dict[str, Any] = (
    {
        "SCALEWAY_SNS_TRUST_CHAIN": sns_signing.scaleway_trust_chain(),
        "SCALEWAY_SNS_TOPIC_ARNS": ["arn:scw:sns:fr-par:project-*:tem-events"],
    }
    if sns_signing.CAN_SIGN
    else {}
)

SCALEWAY = WebhookCase(
    esp="scaleway",
    esp_name="Scaleway",
    views=(
        WebhookView(
            "tracking",
            "anymail:scaleway_tracking_webhook",
            "anymail.webhooks.scaleway.ScalewayTrackingWebhookView",
            signature="optional" if sns_signing.CAN_SIGN else "none",
            missing_auth_status=401,
            options={
                name.removeprefix("SCALEWAY_").lower(): value
                for name, value in SCALEWAY_SETTINGS.items()
            },
        ),
    ),
    settings=SCALEWAY_SETTINGS,
    other_settings=(
        {"SCALEWAY_SNS_TRUST_CHAIN": sns_signing.scaleway_trust_chain("other")}
        if sns_signing.CAN_SIGN
        else {}
    ),
    sign=scaleway_sign if sns_signing.CAN_SIGN else None,
    tampers={**SNS_TAMPERS, "Amazon's certificate": amazon_ses_sign},
)


# ---------------------------------------------------------------------------------------------
# SendGrid: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
# ---------------------------------------------------------------------------------------------

SENDGRID_SIGNATURE = "X-Twilio-Email-Event-Webhook-Signature"
SENDGRID_TIMESTAMP = "X-Twilio-Email-Event-Webhook-Timestamp"

try:
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
except ImportError:
    # An optional package: without it, SendGrid's webhooks work, but only without signatures.
    SENDGRID_CAN_SIGN = False
else:
    SENDGRID_CAN_SIGN = True
    sendgrid_private_key = ec.generate_private_key(ec.SECP256R1())


def sendgrid_key(private_key: Any) -> str:
    """Return the public key as SendGrid shows it."""
    der = private_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(der).decode()


def sendgrid_sign(request: WebhookRequest, timestamp: str = "1930000000") -> None:
    signature = sendgrid_private_key.sign(
        timestamp.encode() + request.body, ec.ECDSA(hashes.SHA256())
    )
    request.headers[SENDGRID_TIMESTAMP] = timestamp
    request.headers[SENDGRID_SIGNATURE] = base64.b64encode(signature).decode()


def _sendgrid_tamper(name: str, value: str | None) -> Tamper:
    def tamper(request: WebhookRequest) -> None:
        if value is None:
            del request.headers[name]
        else:
            request.headers[name] = value

    return tamper


def _sendgrid_other_body(request: WebhookRequest) -> None:
    request.raw, request.content_type = request.body + b" ", request.effective_content_type
    request.json = request.form = request.multipart = None


def sendgrid_settings(private_key: Any) -> dict[str, str]:
    key = sendgrid_key(private_key)
    return {
        "SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY": key,
        "SENDGRID_INBOUND_WEBHOOK_VERIFICATION_KEY": key,
    }


SENDGRID = WebhookCase(
    esp="sendgrid",
    esp_name="SendGrid",
    views=(
        WebhookView(
            "tracking",
            "anymail:sendgrid_tracking_webhook",
            "anymail.webhooks.sendgrid.SendGridTrackingWebhookView",
            signature="optional" if SENDGRID_CAN_SIGN else "none",
            accepts=frozenset({"JSON empty array"}),
            options=(
                {"tracking_webhook_verification_key": sendgrid_key(sendgrid_private_key)}
                if SENDGRID_CAN_SIGN
                else {}
            ),
        ),
        WebhookView(
            "inbound",
            "anymail:sendgrid_inbound_webhook",
            "anymail.webhooks.sendgrid.SendGridInboundWebhookView",
            signature="optional" if SENDGRID_CAN_SIGN else "none",
            options=(
                {"inbound_webhook_verification_key": sendgrid_key(sendgrid_private_key)}
                if SENDGRID_CAN_SIGN
                else {}
            ),
        ),
    ),
    settings=sendgrid_settings(sendgrid_private_key) if SENDGRID_CAN_SIGN else {},
    other_settings=(
        sendgrid_settings(ec.generate_private_key(ec.SECP256R1())) if SENDGRID_CAN_SIGN else {}
    ),
    sign=sendgrid_sign if SENDGRID_CAN_SIGN else None,
    signs_any_body=True,
    tampers={
        "no signature": _sendgrid_tamper(SENDGRID_SIGNATURE, None),
        "no timestamp": _sendgrid_tamper(SENDGRID_TIMESTAMP, None),
        "empty signature": _sendgrid_tamper(SENDGRID_SIGNATURE, ""),
        "empty timestamp": _sendgrid_tamper(SENDGRID_TIMESTAMP, ""),
        "forged": _sendgrid_tamper(SENDGRID_SIGNATURE, base64.b64encode(b"0" * 70).decode()),
        "not base64": _sendgrid_tamper(SENDGRID_SIGNATURE, "abcde"),
        "not ASCII": _sendgrid_tamper(SENDGRID_SIGNATURE, "é" * 64),
        "other timestamp": _sendgrid_tamper(SENDGRID_TIMESTAMP, "1930000001"),
        "timestamp not ASCII": _sendgrid_tamper(SENDGRID_TIMESTAMP, "é"),
        "other body": _sendgrid_other_body,
    },
)


SENDINBLUE = WebhookCase(
    esp="sendinblue",
    esp_name="SendinBlue",
    views=(
        WebhookView(
            "tracking",
            "anymail:sendinblue_tracking_webhook",
            "anymail.webhooks.sendinblue.SendinBlueTrackingWebhookView",
            accepts=frozenset({"JSON empty object", "JSON empty array"}),
            warnings=("AnymailDeprecationWarning",),
        ),
        WebhookView(
            "inbound",
            "anymail:sendinblue_inbound_webhook",
            "anymail.webhooks.sendinblue.SendinBlueInboundWebhookView",
            accepts=frozenset({"JSON empty array"}),
            taken_for_other_kind=frozenset({"JSON empty object"}),
            warnings=("AnymailDeprecationWarning",),
        ),
    ),
    needed_settings={"SENDINBLUE_API_KEY": "brevo-api-key"},
)


SPARKPOST = WebhookCase(
    esp="sparkpost",
    esp_name="SparkPost",
    views=(
        WebhookView(
            "tracking",
            "anymail:sparkpost_tracking_webhook",
            "anymail.webhooks.sparkpost.SparkPostTrackingWebhookView",
            accepts=frozenset({"JSON empty array"}),
            options={"track_initial_open_as_opened": False},
        ),
        WebhookView(
            "inbound",
            "anymail:sparkpost_inbound_webhook",
            "anymail.webhooks.sparkpost.SparkPostInboundWebhookView",
            accepts=frozenset({"JSON empty array"}),
        ),
    ),
)


# ---------------------------------------------------------------------------------------------
# Unisender Go: https://godocs.unisender.ru/web-api-ref#callback-format
# ---------------------------------------------------------------------------------------------

UNISENDER_GO_KEY = "unisender-go-api-key"


def unisender_go_sign(request: WebhookRequest) -> None:
    """The signature is in the body, where the API key was when it was made."""
    if request.json is not None:
        request.json["auth"] = UNISENDER_GO_KEY
        request.json["auth"] = hashlib.md5(request.body).hexdigest()
    else:
        assert request.text is not None
        request.text = request.text.replace(json.loads(request.text)["auth"], UNISENDER_GO_KEY)
        signature = hashlib.md5(request.body).hexdigest()
        request.text = request.text.replace(UNISENDER_GO_KEY, signature)


def _unisender_go_tamper(auth: Any) -> Tamper:
    """Replace the signature by something else, or by what a function makes of it."""

    def tamper(request: WebhookRequest) -> None:
        data = json.loads(request.body)
        data["auth"] = auth(data["auth"]) if callable(auth) else auth
        request.json, request.text = data, None

    return tamper


def _unisender_go_unsigned(request: WebhookRequest) -> None:
    data = json.loads(request.body)
    del data["auth"]
    request.json, request.text = data, None


def _unisender_go_reformatted(request: WebhookRequest) -> None:
    request.text = json.dumps(json.loads(request.body), indent=1)
    request.json = None


def _unisender_go_signed_with(key: str) -> Tamper:
    def tamper(request: WebhookRequest) -> None:
        data = json.loads(request.body)
        request.json, request.text = {**data, "auth": key}, None
        request.json["auth"] = hashlib.md5(request.body).hexdigest()

    return tamper


UNISENDER_GO = WebhookCase(
    esp="unisender_go",
    esp_name="Unisender Go",
    views=(
        WebhookView(
            "tracking",
            "anymail:unisender_go_tracking_webhook",
            "anymail.webhooks.unisender_go.UnisenderGoTrackingWebhookView",
            signature="required",
            extra_methods={"GET": 200},
            options={"api_key": UNISENDER_GO_KEY},
        ),
    ),
    settings={"UNISENDER_GO_API_KEY": UNISENDER_GO_KEY},
    other_settings={"UNISENDER_GO_API_KEY": "another-api-key"},
    required_setting="UNISENDER_GO_API_KEY",
    sign=unisender_go_sign,
    tampers={
        "no signature": _unisender_go_unsigned,
        "forged": _unisender_go_tamper("0" * 32),
        "upper case": _unisender_go_tamper(str.upper),
        "cut off": _unisender_go_tamper(lambda auth: auth[:-1]),
        "longer": _unisender_go_tamper(lambda auth: auth + "0"),
        "with a line break": _unisender_go_tamper(lambda auth: auth + "\n"),
        "the key itself": _unisender_go_tamper(UNISENDER_GO_KEY),
        "empty": _unisender_go_tamper(""),
        "space": _unisender_go_tamper(" "),
        "colon": _unisender_go_tamper(":"),
        "brace": _unisender_go_tamper("{"),
        "quote": _unisender_go_tamper('"'),
        "not ASCII": _unisender_go_tamper("é" * 32),
        "lone surrogate": _unisender_go_tamper("\ud800"),
        "zero": _unisender_go_tamper(0),
        "null": _unisender_go_tamper(None),
        "false": _unisender_go_tamper(False),
        "list": _unisender_go_tamper(lambda auth: [auth]),
        "object": _unisender_go_tamper(lambda auth: {"auth": auth}),
        "signed with nothing": _unisender_go_signed_with(""),
        "other format": _unisender_go_reformatted,
    },
)


CASES = {
    case.esp: case
    for case in (
        AMAZON_SES,
        BREVO,
        MAILERSEND,
        MAILGUN,
        MAILJET,
        MAILTRAP,
        MANDRILL,
        POSTAL,
        POSTMARK,
        RESEND,
        SCALEWAY,
        SENDGRID,
        SENDINBLUE,
        SPARKPOST,
        UNISENDER_GO,
    )
}

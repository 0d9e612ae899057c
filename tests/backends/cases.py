"""What differs between the backends, as data: adding a provider is one entry.

An entry makes the backend take part in test_contract.py.
"""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..utils import make_response
from .harness import ApiCall, BotoCall, BotoTransport, LocalTransport, RequestsTransport, Transport

PerRecipient = dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class BackendCase:
    """One backend."""

    name: str
    """The backend's module."""
    backend: str
    """Dotted path of the backend class."""
    esp_name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """All the options of its own that the backend knows, with values to test with. In other
    words, its OPTIONS in MAILERS; also used as settings, in their ``<ESP>_<OPTION>`` form."""
    packages: tuple[str, ...] = ()
    """Optional packages that it needs: without them, its tests are skipped."""
    required: tuple[str, ...] = ()
    """The options that must be set."""
    secret: tuple[str, ...] = ()
    """The options that must never be seen in debugging output."""
    success: Callable[[Any], Any] | None = None
    """Returns the API's answer when it accepts a call."""
    statuses: frozenset[str] = frozenset({"sent"})
    """The recipients' status after that."""
    batch_statuses: frozenset[str] | None = None
    """The same for a batch, if it's not the same."""
    unsupported: frozenset[str] = frozenset()
    """Names in test_contract.FEATURES of what the API does not offer."""
    feature_texts: Mapping[str, str] = field(default_factory=dict)
    """How the backend names an unsupported feature, if not as test_contract.FEATURES does."""
    feature_attrs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What messages need so that a feature works, by its name in FEATURES: attributes to add,
    or to use in place of those there."""
    combined_without: frozenset[str] = frozenset()
    """Features that are supported, but not together with all the others."""
    not_in_defaults: frozenset[str] = frozenset()
    """Attributes that SEND_DEFAULTS can't have."""
    template_is_batch: bool = False
    """Whether messages with a template are always individual, even without merge attributes."""
    serialized: frozenset[str] = frozenset()
    """Attributes that become JSON: other values are an AnymailSerializationError."""
    made_into_mime: bool = False
    """Whether Django has to make MIME of each message: it can't if the body is None, or parts of
    it are lazy strings."""
    accepts: frozenset[str] = frozenset()
    """Odd answers (keys of test_contract.ODD_ANSWERS) that count as success."""
    reads_answers: bool = True
    """Whether there is anything to read in the answer of an API that accepts a call."""
    per_recipient: Callable[[Any], PerRecipient] | None = None
    """Returns what a call has for individual recipients: {addr-spec as sent: {"merge_data": {...},
    "merge_metadata": {...}, "merge_headers": {...}}}; for batch-capable APIs."""
    transport: type[Transport] = RequestsTransport
    base_options: Callable[[], Mapping[str, Any]] = dict
    """Options that each test needs."""

    @property
    def is_http(self) -> bool:
        return issubclass(self.transport, RequestsTransport)


ADVANCED_FEATURES = frozenset(
    {
        "multiple_from",
        "multiple_html",
        "multiple_text",
        "amp_alternative",
        "other_alternative",
        "to_header",
        "from_header",
        "envelope_sender",
        "metadata",
        "send_at",
        "tags",
        "multiple_tags",
        "track_clicks",
        "track_opens",
        "template_id",
        "merge_data",
        "merge_global_data",
        "merge_headers",
        "merge_metadata",
        "esp_extra",
    }
)


# ---------------------------------------------------------------------------------------------


def _minimal_success(call: ApiCall) -> Any:
    return make_response(json_data={"id": "minimal-id"})


MINIMAL = BackendCase(
    name="minimal",
    backend="tests.backends.minimal.EmailBackend",
    esp_name="Minimal ESP",
    options={"api_key": "minimal-api-key", "api_url": "https://api.minimal.example/v2/"},
    required=("api_key",),
    secret=("api_key",),
    success=_minimal_success,
    unsupported=ADVANCED_FEATURES,
    feature_texts={"multiple_tags": "tags"},
    serialized=frozenset({"extra_headers"}),
)


TEST = BackendCase(
    name="test",
    backend="anymail.backends.test.EmailBackend",
    esp_name="Test",
    unsupported=frozenset({"to_header", "multiple_from"}),
    transport=LocalTransport,
)


CONSOLE = BackendCase(
    name="console",
    backend="anymail.backends.console.EmailBackend",
    esp_name="Console",
    unsupported=frozenset({"to_header", "multiple_from"}),
    made_into_mime=True,  # to print it
    transport=LocalTransport,
    base_options=lambda: {"stream": io.StringIO()},
)


# ---------------------------------------------------------------------------------------------
# Amazon SES
# ---------------------------------------------------------------------------------------------

AMAZON_SES_TEMPLATE = {"template_id": "1234", "subject": "", "body": ""}


def _amazon_ses_success(call: BotoCall) -> Any:
    if call.operation == "send_email":
        return {"MessageId": "0102018e00000000-00000000-0000-0000-0000-000000000000-000000"}
    return {
        "BulkEmailEntryResults": [
            {"Status": "SUCCESS", "MessageId": f"0102018e00000000-{number}"}
            for number, _ in enumerate(call.params["BulkEmailEntries"])
        ]
    }


def _amazon_ses_per_recipient(call: BotoCall) -> PerRecipient:
    result: PerRecipient = {}
    for entry in call.params["BulkEmailEntries"]:
        [to] = entry["Destination"]["ToAddresses"]
        template = entry["ReplacementEmailContent"]["ReplacementTemplate"]
        headers = {item["Name"]: item["Value"] for item in entry.get("ReplacementHeaders", [])}
        result[to.rpartition("<")[2].rstrip(">")] = {
            "merge_data": json.loads(template["ReplacementTemplateData"]),
            "merge_metadata": json.loads(headers.pop("X-Metadata", "{}")),
            "merge_headers": headers,
        }
    return result


AMAZON_SES = BackendCase(
    name="amazon_ses",
    backend="anymail.backends.amazon_ses.EmailBackend",
    esp_name="Amazon SES",
    packages=("boto3",),
    options={
        "client_params": {"region_name": "eu-central-1"},
        "session_params": {"profile_name": "ses"},
        "configuration_set_name": "config-set",
        "message_tag_name": "campaign",
    },
    success=_amazon_ses_success,
    statuses=frozenset({"queued"}),
    unsupported=frozenset({"multiple_from", "send_at", "track_clicks", "track_opens"}),
    feature_attrs={
        "esp_extra": {"esp_extra": {"ListManagementOptions": {"ContactListName": "customers"}}},
        "template_id": AMAZON_SES_TEMPLATE,
        "merge_data": AMAZON_SES_TEMPLATE,
        "merge_global_data": AMAZON_SES_TEMPLATE,
        "merge_headers": AMAZON_SES_TEMPLATE,
        "merge_metadata": AMAZON_SES_TEMPLATE,
    },
    # With a template, there can't be bodies and attachments.
    combined_without=frozenset(
        {"template_id", "merge_data", "merge_global_data", "merge_headers", "merge_metadata"}
    ),
    # Django makes the MIME, or the choice of the API depends on it.
    not_in_defaults=frozenset(
        {
            "from_email",
            "to",
            "cc",
            "bcc",
            "subject",
            "reply_to",
            "extra_headers",
            "body",
            "alternatives",
            "attachments",
            "template_id",
        }
    ),
    template_is_batch=True,
    serialized=frozenset({"metadata", "merge_data", "merge_global_data", "merge_metadata"}),
    per_recipient=_amazon_ses_per_recipient,
    transport=BotoTransport,
)


# ---------------------------------------------------------------------------------------------
# Brevo
# ---------------------------------------------------------------------------------------------


def _brevo_success(call: ApiCall) -> Any:
    versions = call.json.get("messageVersions")
    if versions is None:
        return make_response(201, json_data={"messageId": "<1@smtp-relay.mailin.fr>"})
    ids = [f"<1.{n}@smtp-relay.mailin.fr>" for n, _version in enumerate(versions)]
    return make_response(201, json_data={"messageIds": ids})


def _brevo_per_recipient(call: ApiCall) -> PerRecipient:
    result: PerRecipient = {}
    for version in call.json["messageVersions"]:
        [to] = version["to"]
        headers = dict(version.get("headers", {}))
        result[to["email"]] = {
            "merge_data": version.get("params", {}),
            "merge_metadata": json.loads(headers.pop("X-Mailin-custom", "{}")),
            "merge_headers": headers,
        }
    return result


BREVO = BackendCase(
    name="brevo",
    backend="anymail.backends.brevo.EmailBackend",
    esp_name="Brevo",
    options={
        "api_key": "brevo-api-key",
        "api_url": "https://api.brevo.example/v3/",
        "workaround_display_name_bugs": False,
        "prevent_header_encoding_bugs": False,
    },
    required=("api_key",),
    secret=("api_key",),
    success=_brevo_success,
    statuses=frozenset({"queued"}),
    unsupported=frozenset(
        {
            "multiple_reply_to",
            "inline_image",
            "multiple_html",
            "multiple_text",
            "amp_alternative",
            "other_alternative",
            "multiple_from",
            "to_header",
            "from_header",
            "envelope_sender",
            "track_clicks",
            "track_opens",
        }
    ),
    serialized=frozenset(
        {
            "extra_headers",
            "metadata",
            "merge_data",
            "merge_global_data",
            "merge_headers",
            "merge_metadata",
            "esp_extra",
        }
    ),
    accepts=frozenset({"empty"}),
    per_recipient=_brevo_per_recipient,
)


# ---------------------------------------------------------------------------------------------
# MailerSend
# ---------------------------------------------------------------------------------------------


def _mailersend_success(call: ApiCall) -> Any:
    if isinstance(call.json, list):
        return make_response(
            202,
            json_data={
                "message": "The bulk email is being processed.",
                "bulk_email_id": "614470d1588b866d0454f3e2",
            },
        )
    response = make_response(202, content_type="text/html; charset=UTF-8")
    response.headers["X-Message-Id"] = "5e42957d51f1d94a1070a733"
    return response


def _mailersend_per_recipient(call: ApiCall) -> PerRecipient:
    result: PerRecipient = {}
    for message in call.json:
        [to] = message["to"]
        [personalization] = message["personalization"]
        assert personalization["email"] == to["email"]
        result[to["email"]] = {"merge_data": personalization["data"]}
    return result


MAILERSEND = BackendCase(
    name="mailersend",
    backend="anymail.backends.mailersend.EmailBackend",
    esp_name="MailerSend",
    options={
        "api_token": "mailersend-api-token",
        "batch_send_mode": "use-bulk-email",
        "api_url": "https://api.mailersend.example/v1/",
    },
    required=("api_token",),
    secret=("api_token",),
    success=_mailersend_success,
    statuses=frozenset({"queued"}),
    batch_statuses=frozenset({"unknown"}),
    unsupported=frozenset(
        {
            "multiple_reply_to",
            "multiple_html",
            "multiple_text",
            "amp_alternative",
            "other_alternative",
            "multiple_from",
            "to_header",
            "from_header",
            "envelope_sender",
            "metadata",
            "merge_headers",
            "merge_metadata",
        }
    ),
    serialized=frozenset({"extra_headers", "merge_data", "merge_global_data", "esp_extra"}),
    # Its answers are empty, other than those of bulk sending: ids are in a header.
    reads_answers=False,
    per_recipient=_mailersend_per_recipient,
    base_options=lambda: {"batch_send_mode": "use-bulk-email"},
)


# ---------------------------------------------------------------------------------------------
# Mailgun
# ---------------------------------------------------------------------------------------------


def _mailgun_success(call: ApiCall) -> Any:
    return make_response(json_data={"id": "<1@mg.example.com>", "message": "Queued. Thank you."})


def _mailgun_per_recipient(call: ApiCall) -> PerRecipient:
    [recipient_variables] = call.form["recipient-variables"]
    result: PerRecipient = {}
    for address, variables in json.loads(recipient_variables).items():
        entry = result[address] = {"merge_data": {}, "merge_metadata": {}, "merge_headers": {}}
        for name, value in variables.items():
            if name.startswith("v:"):
                entry["merge_metadata"][name[2:]] = value
            elif name.startswith("h:"):
                entry["merge_headers"][name[2:]] = value
            else:
                entry["merge_data"][name] = value
    return result


MAILGUN = BackendCase(
    name="mailgun",
    backend="anymail.backends.mailgun.EmailBackend",
    esp_name="Mailgun",
    options={
        "api_key": "mailgun-api-key",
        "sender_domain": "mg.example.com",
        "api_url": "https://api.eu.mailgun.net/v3/",
    },
    required=("api_key",),
    secret=("api_key",),
    success=_mailgun_success,
    statuses=frozenset({"queued"}),
    unsupported=frozenset({"multiple_html", "multiple_text", "other_alternative", "to_header"}),
    feature_attrs={"esp_extra": {"esp_extra": {"o:testmode": "yes"}}},
    serialized=frozenset({"merge_data", "merge_global_data", "merge_metadata", "merge_headers"}),
    per_recipient=_mailgun_per_recipient,
)


# ---------------------------------------------------------------------------------------------
# Mailjet
# ---------------------------------------------------------------------------------------------


def _mailjet_success(call: ApiCall) -> Any:
    ids = itertools.count(70650000000000001)

    def results(recipients: list[Any]) -> list[Any]:
        return [{"Email": item["Email"], "MessageID": next(ids)} for item in recipients]

    shared = call.json["Globals"]
    return make_response(
        json_data={
            "Messages": [
                {
                    "Status": "success",
                    "CustomID": "",
                    "To": results(message["To"]),
                    "Cc": results(shared.get("Cc", [])),
                    "Bcc": results(shared.get("Bcc", [])),
                }
                for message in call.json["Messages"]
            ]
        }
    )


def _mailjet_per_recipient(call: ApiCall) -> PerRecipient:
    return {
        message["To"][0]["Email"]: {
            "merge_data": message.get("Variables", {}),
            "merge_metadata": json.loads(message.get("EventPayload", "{}")),
            "merge_headers": message.get("Headers", {}),
        }
        for message in call.json["Messages"]
    }


MAILJET = BackendCase(
    name="mailjet",
    backend="anymail.backends.mailjet.EmailBackend",
    esp_name="Mailjet",
    options={
        "api_key": "mailjet-api-key",
        "secret_key": "mailjet-secret-key",
        "api_url": "https://api.us.mailjet.com/v3.1/",
    },
    required=("api_key", "secret_key"),
    secret=("api_key", "secret_key"),
    success=_mailjet_success,
    unsupported=frozenset(
        {
            "multiple_reply_to",
            "multiple_html",
            "multiple_text",
            "amp_alternative",
            "other_alternative",
            "multiple_from",
            "to_header",
            "send_at",
            "multiple_tags",
        }
    ),
    feature_texts={"multiple_reply_to": "Multiple reply_to addresses"},
    serialized=frozenset(
        {
            "extra_headers",
            "metadata",
            "merge_data",
            "merge_global_data",
            "merge_headers",
            "merge_metadata",
            "esp_extra",
        }
    ),
    per_recipient=_mailjet_per_recipient,
)


# ---------------------------------------------------------------------------------------------
# Mailtrap
# ---------------------------------------------------------------------------------------------


def _mailtrap_success(call: ApiCall) -> Any:
    ids = itertools.count(10000)

    def result(message: Any) -> Any:
        # One id for each recipient
        recipients = sum(len(message.get(field, [])) for field in ("to", "cc", "bcc"))
        return {"success": True, "message_ids": [str(next(ids)) for _ in range(recipients)]}

    if "requests" not in call.json:
        return make_response(json_data=result(call.json))
    return make_response(
        json_data={
            "success": True,
            "responses": [result(message) for message in call.json["requests"]],
        }
    )


def _mailtrap_per_recipient(call: ApiCall) -> PerRecipient:
    return {
        message["to"][0]["email"]: {
            "merge_data": message.get("template_variables", {}),
            "merge_metadata": message.get("custom_variables", {}),
            "merge_headers": message.get("headers", {}),
        }
        for message in call.json["requests"]
    }


MAILTRAP = BackendCase(
    name="mailtrap",
    backend="anymail.backends.mailtrap.EmailBackend",
    esp_name="Mailtrap",
    options={
        "api_token": "mailtrap-api-token",
        "sandbox_id": None,
        "api_url": "https://bulk.api.mailtrap.io/api/",
    },
    required=("api_token",),
    secret=("api_token",),
    success=_mailtrap_success,
    statuses=frozenset({"queued"}),
    unsupported=frozenset(
        {
            "multiple_html",
            "multiple_text",
            "amp_alternative",
            "other_alternative",
            "multiple_from",
            "to_header",
            "from_header",
            "envelope_sender",
            "send_at",
            "multiple_tags",
            "track_clicks",
            "track_opens",
        }
    ),
    # All values in metadata become text.
    serialized=frozenset(
        {
            "extra_headers",
            "merge_data",
            "merge_global_data",
            "merge_headers",
            "merge_metadata",
            "esp_extra",
        }
    ),
    per_recipient=_mailtrap_per_recipient,
)


# ---------------------------------------------------------------------------------------------
# Mandrill
# ---------------------------------------------------------------------------------------------


def _mandrill_success(call: ApiCall) -> Any:
    return make_response(
        json_data=[
            {"email": item["email"], "status": "sent", "_id": f"f00d{n:04}", "reject_reason": None}
            for n, item in enumerate(call.json["message"]["to"])
        ]
    )


def _mandrill_per_recipient(call: ApiCall) -> PerRecipient:
    message = call.json["message"]
    found: PerRecipient = {
        item["email"]: {"merge_data": {}, "merge_metadata": {}}
        for item in message["to"]
        if item["type"] == "to"
    }
    # Mandrill ignores those for other addresses.
    for item in message.get("merge_vars", []):
        if item["rcpt"] in found:
            found[item["rcpt"]]["merge_data"] = {
                var["name"]: var["content"] for var in item["vars"]
            }
    for item in message.get("recipient_metadata", []):
        if item["rcpt"] in found:
            found[item["rcpt"]]["merge_metadata"] = item["values"]
    return found


MANDRILL = BackendCase(
    name="mandrill",
    backend="anymail.backends.mandrill.EmailBackend",
    esp_name="Mandrill",
    options={"api_key": "mandrill-api-key", "api_url": "https://mandrill.example.com/api/1.0/"},
    required=("api_key",),
    secret=("api_key",),
    success=_mandrill_success,
    unsupported=frozenset(
        {
            "multiple_html",
            "multiple_text",
            "amp_alternative",
            "other_alternative",
            "multiple_from",
            "to_header",
            "merge_headers",
        }
    ),
    serialized=frozenset(
        {
            "extra_headers",
            "metadata",
            "merge_data",
            "merge_global_data",
            "merge_metadata",
            "esp_extra",
        }
    ),
    # No recipients is none but refused ones.
    accepts=frozenset({"JSON empty array"}),
    per_recipient=_mandrill_per_recipient,
)


# ---------------------------------------------------------------------------------------------
# Postal
# ---------------------------------------------------------------------------------------------


def _postal_success(call: ApiCall) -> Any:
    recipients = [*call.json["to"], *call.json["cc"], *call.json["bcc"]]
    return make_response(
        json_data={
            "status": "success",
            "time": 0.04,
            "flags": {},
            "data": {
                "message_id": "6f0c@rp.postal.example.com",
                "messages": {
                    recipient.rpartition("<")[2].rstrip(">"): {"id": 900 + n, "token": f"Zx{n}"}
                    for n, recipient in enumerate(recipients)
                },
            },
        }
    )


POSTAL = BackendCase(
    name="postal",
    backend="anymail.backends.postal.EmailBackend",
    esp_name="Postal",
    options={"api_key": "postal-api-key", "api_url": "https://postal.example.com/"},
    required=("api_key", "api_url"),
    secret=("api_key",),
    success=_postal_success,
    statuses=frozenset({"queued"}),
    unsupported=frozenset(
        {
            "multiple_reply_to",
            "inline_image",
            "multiple_html",
            "multiple_text",
            "amp_alternative",
            "other_alternative",
            "multiple_from",
            "to_header",
            "metadata",
            "send_at",
            "multiple_tags",
            "track_clicks",
            "track_opens",
            "template_id",
            "merge_data",
            "merge_global_data",
            "merge_headers",
            "merge_metadata",
        }
    ),
    feature_texts={
        "multiple_reply_to": "multiple reply_to addresses",
        "inline_image": "inline attachments",
    },
    serialized=frozenset({"extra_headers", "esp_extra"}),
)


# ---------------------------------------------------------------------------------------------
# Postmark
# ---------------------------------------------------------------------------------------------


def _postmark_success(call: ApiCall) -> Any:
    def result(message: Any, number: int) -> Any:
        return {
            **({"To": message["To"]} if "To" in message else {}),
            "SubmittedAt": "2031-02-03T04:05:06.7890123-05:00",
            "MessageID": f"00000000-0000-4000-8000-{number:012}",
            "ErrorCode": 0,
            "Message": "OK",
        }

    data = call.json
    if isinstance(data, dict) and "Messages" in data:
        data = data["Messages"]
    if isinstance(data, list):
        return make_response(json_data=[result(item, n) for n, item in enumerate(data)])
    return make_response(json_data=result(data, 0))


def _postmark_per_recipient(call: ApiCall) -> PerRecipient:
    messages = call.json["Messages"] if isinstance(call.json, dict) else call.json
    return {
        message["To"].rpartition("<")[2].rstrip(">"): {
            "merge_data": message.get("TemplateModel", {}),
            "merge_metadata": message.get("Metadata", {}),
            "merge_headers": {item["Name"]: item["Value"] for item in message.get("Headers", [])},
        }
        for message in messages
    }


POSTMARK = BackendCase(
    name="postmark",
    backend="anymail.backends.postmark.EmailBackend",
    esp_name="Postmark",
    options={
        "server_token": "postmark-server-token",
        "message_stream": "broadcast",
        "use_bulk_api": False,
        "generate_message_id": True,
        "api_url": "https://postmark.example/api/",
    },
    required=("server_token",),
    secret=("server_token",),
    success=_postmark_success,
    unsupported=frozenset(
        {
            "multiple_html",
            "multiple_text",
            "amp_alternative",
            "other_alternative",
            "to_header",
            "from_header",
            "envelope_sender",
            "send_at",
            "multiple_tags",
        }
    ),
    feature_attrs={
        "merge_data": {"template_id": "1234"},
        "merge_global_data": {"template_id": "1234"},
        "esp_extra": {"esp_extra": {"HeadersOnly": {"nested": ["value"]}}},
    },
    serialized=frozenset(
        {
            "extra_headers",
            "metadata",
            "merge_data",
            "merge_global_data",
            "merge_headers",
            "merge_metadata",
            "esp_extra",
        }
    ),
    # A batch without messages has no results.
    accepts=frozenset({"JSON empty array"}),
    per_recipient=_postmark_per_recipient,
)


# ---------------------------------------------------------------------------------------------
# Resend
# ---------------------------------------------------------------------------------------------


def _resend_success(call: ApiCall) -> Any:
    if isinstance(call.json, list):
        ids = [{"id": f"00000000-0000-4000-8000-{n:012}"} for n, _message in enumerate(call.json)]
        return make_response(json_data={"data": ids})
    return make_response(json_data={"id": "00000000-0000-4000-8000-000000000000"})


def _resend_per_recipient(call: ApiCall) -> PerRecipient:
    result: PerRecipient = {}
    for message in call.json:
        [to] = message["to"]
        headers = dict(message.get("headers", {}))
        result[to.rpartition("<")[2].rstrip(">")] = {
            "merge_metadata": json.loads(headers.pop("X-Metadata", "{}")),
            "merge_headers": headers,
        }
    return result


RESEND = BackendCase(
    name="resend",
    backend="anymail.backends.resend.EmailBackend",
    esp_name="Resend",
    options={
        "api_key": "resend-api-key",
        "api_url": "https://api.resend.example/",
        "verify_attachment_extensions": False,
    },
    required=("api_key",),
    secret=("api_key",),
    success=_resend_success,
    statuses=frozenset({"queued"}),
    unsupported=frozenset(
        {
            "multiple_html",
            "multiple_text",
            "amp_alternative",
            "other_alternative",
            "multiple_from",
            "to_header",
            "from_header",
            "envelope_sender",
            "track_clicks",
            "track_opens",
            "template_id",
            "merge_data",
            "merge_global_data",
        }
    ),
    serialized=frozenset(
        {"extra_headers", "metadata", "merge_headers", "merge_metadata", "esp_extra"}
    ),
    per_recipient=_resend_per_recipient,
)


# ---------------------------------------------------------------------------------------------
# Scaleway
# ---------------------------------------------------------------------------------------------


def _scaleway_success(call: ApiCall) -> Any:
    return make_response(
        json_data={
            "emails": [
                {
                    "id": f"00000000-0000-4000-8000-{number:012}",
                    "message_id": "11111111-0000-4000-8000-000000000000",
                    "mail_rcpt": recipient["email"],
                    "rcpt_type": kind,
                    "status": "sending",
                }
                for number, (kind, recipient) in enumerate(
                    (kind, recipient)
                    for kind in ("to", "cc", "bcc")
                    for recipient in call.json.get(kind, [])
                )
            ]
        }
    )


SCALEWAY = BackendCase(
    name="scaleway",
    backend="anymail.backends.scaleway.EmailBackend",
    esp_name="Scaleway",
    options={
        "secret_key": "scaleway-secret-key",
        "project_id": "11112222-3333-4444-8555-666677778888",
        "region": "pl-waw",
        "api_url": "https://api.scaleway.example/{region}/",
    },
    required=("secret_key", "project_id"),
    secret=("secret_key",),
    success=_scaleway_success,
    statuses=frozenset({"queued"}),
    unsupported=(ADVANCED_FEATURES - {"metadata", "tags", "multiple_tags", "esp_extra"})
    | {"inline_image"},
    serialized=frozenset({"metadata", "esp_extra"}),
)


# ---------------------------------------------------------------------------------------------
# SendGrid
# ---------------------------------------------------------------------------------------------


def _sendgrid_success(call: ApiCall) -> Any:
    return make_response(202)


def _sendgrid_per_recipient(call: ApiCall) -> PerRecipient:
    result: PerRecipient = {}
    for personalization in call.json["personalizations"]:
        [to] = personalization["to"]
        metadata = dict(personalization["custom_args"])
        del metadata["anymail_id"]
        result[to["email"]] = {
            "merge_data": personalization.get("dynamic_template_data", {}),
            "merge_metadata": metadata,
            "merge_headers": personalization.get("headers", {}),
        }
    return result


SENDGRID = BackendCase(
    name="sendgrid",
    backend="anymail.backends.sendgrid.EmailBackend",
    esp_name="SendGrid",
    options={
        "api_key": "sendgrid-api-key",
        "generate_message_id": True,
        "merge_field_format": "-{}-",
        "api_url": "https://api.eu.sendgrid.com/v3/",
    },
    required=("api_key",),
    secret=("api_key",),
    success=_sendgrid_success,
    statuses=frozenset({"queued"}),
    unsupported=frozenset({"multiple_from", "to_header", "from_header", "envelope_sender"}),
    feature_attrs={
        # The data for legacy templates can only be text.
        "template_id": {"template_id": "d-1234"},
        "merge_data": {"template_id": "d-1234"},
        "merge_global_data": {"template_id": "d-1234"},
    },
    serialized=frozenset(
        {
            "extra_headers",
            "metadata",
            "merge_data",
            "merge_global_data",
            "merge_headers",
            "merge_metadata",
            "esp_extra",
        }
    ),
    # Its answers are empty: the HTTP status is all that counts.
    reads_answers=False,
    per_recipient=_sendgrid_per_recipient,
)


# ---------------------------------------------------------------------------------------------
# SparkPost
# ---------------------------------------------------------------------------------------------


def _sparkpost_success(call: ApiCall) -> Any:
    return make_response(
        json_data={
            "results": {
                "id": "12345678901234567890",
                "total_accepted_recipients": len(call.json["recipients"]),
                "total_rejected_recipients": 0,
            }
        }
    )


def _sparkpost_per_recipient(call: ApiCall) -> PerRecipient:
    variables = {
        value.strip("{}"): name for name, value in call.json["content"].get("headers", {}).items()
    }
    result: PerRecipient = {}
    for recipient in call.json["recipients"]:
        data = recipient.get("substitution_data", {})
        result[recipient["address"]["email"]] = {
            "merge_data": {key: data[key] for key in data if key not in variables},
            "merge_metadata": recipient.get("metadata", {}),
            "merge_headers": {variables[key]: data[key] for key in data if key in variables},
        }
    return result


SPARKPOST = BackendCase(
    name="sparkpost",
    backend="anymail.backends.sparkpost.EmailBackend",
    esp_name="SparkPost",
    options={
        "api_key": "sparkpost-api-key",
        "subaccount": 123,
        "api_url": "https://api.eu.sparkpost.com/api/v1/",
    },
    required=("api_key",),
    secret=("api_key",),
    success=_sparkpost_success,
    statuses=frozenset({"queued"}),
    unsupported=frozenset(
        {
            "multiple_html",
            "multiple_text",
            "other_alternative",
            "multiple_from",
            "to_header",
            "multiple_tags",
        }
    ),
    feature_attrs={"template_id": {"template_id": "1234", "from_email": None}},
    # Templates have headers, attachments and a From of their own.
    combined_without=frozenset({"template_id"}),
    not_in_defaults=frozenset({"from_email"}),
    serialized=frozenset(
        {
            "extra_headers",
            "metadata",
            "merge_data",
            "merge_global_data",
            "merge_headers",
            "merge_metadata",
            "esp_extra",
        }
    ),
    per_recipient=_sparkpost_per_recipient,
)


# ---------------------------------------------------------------------------------------------
# Unisender Go
# ---------------------------------------------------------------------------------------------


def _unisender_go_success(call: ApiCall) -> Any:
    return make_response(
        json_data={
            "status": "success",
            "job_id": "1ZymBc-00041N-9X",
            "emails": [item["email"] for item in call.json["message"]["recipients"]],
        }
    )


def _unisender_go_per_recipient(call: ApiCall) -> PerRecipient:
    found: PerRecipient = {}
    for recipient in call.json["message"]["recipients"]:
        data = dict(recipient.get("substitutions", {}))
        data.pop("to_name", None)
        header = data.pop("Header__List_Unsubscribe", None)
        metadata = dict(recipient["metadata"])
        del metadata["anymail_id"]
        found[recipient["email"]] = {
            "merge_data": data,
            "merge_metadata": metadata,
            "merge_headers": {} if header is None else {"List-Unsubscribe": header},
        }
    return found


UNISENDER_GO = BackendCase(
    name="unisender_go",
    backend="anymail.backends.unisender_go.EmailBackend",
    esp_name="Unisender Go",
    options={
        "api_key": "unisender-go-api-key",
        "api_url": "https://go2.unisender.example/ru/transactional/api/v1/",
        "generate_message_id": False,
        "workaround_display_name_bugs": False,
    },
    required=("api_key", "api_url"),
    secret=("api_key",),
    success=_unisender_go_success,
    statuses=frozenset({"queued"}),
    unsupported=frozenset(
        {
            "multiple_reply_to",
            "multiple_html",
            "multiple_text",
            "other_alternative",
            "multiple_from",
            "to_header",
            "from_header",
            "envelope_sender",
        }
    ),
    feature_attrs={
        "merge_headers": {"merge_headers": {"to@example.com": {"List-Unsubscribe": "<http://u>"}}}
    },
    # There can't be a Cc in a batch.
    combined_without=frozenset({"merge_data", "merge_headers", "merge_metadata"}),
    serialized=frozenset(
        {
            "extra_headers",
            "metadata",
            "merge_data",
            "merge_global_data",
            "merge_metadata",
            "esp_extra",
        }
    ),
    per_recipient=_unisender_go_per_recipient,
)


CASES = {
    case.name: case
    for case in (
        MINIMAL,
        TEST,
        CONSOLE,
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
        SPARKPOST,
        UNISENDER_GO,
    )
}

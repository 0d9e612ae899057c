"""Every setting that Anymail reads: the one source of what the docs say about them.

Nothing imports this module when messages are sent or webhooks called. It is for the docs, which
are made from it, and for errors that point to them. Tests compare it with the code that reads the
settings.

``text`` and ``default_text`` are reStructuredText, for pages in any directory of the docs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from .datastructures import UNSET

Scope = Literal["sending", "webhooks", "both"]


@dataclass(frozen=True)
class Setting:
    """A key of ``settings.ANYMAIL``, or a name with ``ANYMAIL_`` in front of it."""

    name: str
    """In the groups of providers without the provider's name: it's in front of all of them."""

    text: str
    """What it does."""

    scope: Scope = "sending"
    """What reads it."""

    default: Any = UNSET
    """UNSET if there is none."""

    default_text: str = ""
    """The default in words, where its value alone does not tell."""

    required: str = ""
    """What it is required for, to follow the word "Required"; empty if for nothing."""

    options: tuple[str, ...] = ()
    """What it is called in OPTIONS of an entry in MAILERS. The first one counts."""

    argument: str = ""
    """What it is called as an argument of a webhook view's ``as_view()``."""

    bare: bool = False
    """Whether the name alone is read too, without ANYMAIL."""


@dataclass(frozen=True)
class Group:
    """Settings that the docs list together."""

    title: str
    settings: tuple[Setting, ...]
    prefix: str = ""
    """The provider's name in the names of its settings."""

    def full_name(self, setting: Setting) -> str:
        """Return the key of one of the group's settings in ``settings.ANYMAIL``."""
        return f"{self.prefix}_{setting.name}" if self.prefix else setting.name


def _api_key(name: str, text: str, **kwargs: Any) -> Setting:
    # What most providers have
    kwargs = {"required": "for sending", "options": (name.lower(),), "bare": True, **kwargs}
    return Setting(name, text, **kwargs)


def _api_url(default: str, text: str = "", **kwargs: Any) -> Setting:
    text = f"Base URL of the API. {text}".rstrip()
    return Setting("API_URL", text, default=default, options=("api_url",), **kwargs)


_CHUNK_SIZE = Setting(
    "DOWNLOAD_CHUNK_SIZE",
    "How many bytes of a received message are read at a time.",
    scope="webhooks",
    default=65536,
)

_DOWNLOAD_HOSTS = Setting(
    "DOWNLOAD_HOSTS",
    "Names of the hosts that received messages are downloaded from: one, or a list. ``*`` in one "
    "stands for any characters (as in Python's :mod:`fnmatch`). What matches only because of that "
    "must have a public address.",
    scope="webhooks",
    default=("*",),
    default_text="any host",
    argument="download_hosts",
)

_TOPIC_ARNS = Setting(
    "SNS_TOPIC_ARNS",
    "The ARN of your topic, or a list of ARNs. ``*`` in one stands for any characters (as in "
    "Python's :mod:`fnmatch`). Calls for other topics are refused.",
    scope="webhooks",
    default=None,
    default_text="any topic",
    argument="sns_topic_arns",
)

_AUTO_CONFIRM = Setting(
    "AUTO_CONFIRM_SNS_SUBSCRIPTIONS",
    "Whether the webhooks confirm their subscriptions to topics.",
    scope="webhooks",
    default=True,
    argument="auto_confirm_sns_subscriptions",
)

GENERAL = Group(
    "General",
    (
        Setting(
            "IGNORE_UNSUPPORTED_FEATURES",
            "Whether to send messages without what the provider does not support, instead of "
            "raising :exc:`~anymail.exceptions.AnymailUnsupportedFeature`. See "
            ":ref:`unsupported-features`.",
            default=False,
            options=("ignore_unsupported_features",),
        ),
        Setting(
            "IGNORE_RECIPIENT_STATUS",
            "Whether not to raise an exception when the provider's answer says that it has refused "
            "the message for all recipients. See :ref:`recipients-refused`.",
            default=False,
            options=("ignore_recipient_status",),
        ),
        Setting(
            "SEND_DEFAULTS",
            "Values for messages' attributes. See :ref:`send-defaults`.",
            default=None,
            default_text="``{}``",
        ),
        Setting(
            "REQUESTS_TIMEOUT",
            "For calls of the provider's API: seconds, a (connect, read) tuple of seconds, or "
            "``None`` for no limit. Not for sending with Amazon SES. The setting, but not the "
            "option, also holds for what webhooks call.",
            scope="both",
            default=30,
            options=("timeout", "requests_timeout"),
        ),
        Setting(
            "CONNECTION_MAX_IDLE",
            "How many seconds a connection to the provider is kept without use, for messages that "
            "are sent later; ``0`` to keep none. Not for Amazon SES.",
            default=30,
            options=("connection_max_idle",),
        ),
        Setting(
            "SEND_CONCURRENCY",
            "How many calls of the provider's API can be under way at a time, if one "
            "``send_messages()`` sends several messages.",
            default=1,
            options=("send_concurrency",),
        ),
        Setting(
            "IDNA_ENCODER",
            'How non-ASCII domains in addresses are encoded: ``"idna2008"``, ``"uts46"``, '
            '``"idna2003"``, ``"none"``, a function, or its dotted path. See '
            ":ref:`idna-encoder`.",
            default="idna2008",
        ),
        Setting(
            "DEBUG_API_REQUESTS",
            "Whether to print API calls and their answers, for use in development. Credentials "
            "are masked, but addresses and content are not. Not for Amazon SES.",
            default=False,
            options=("debug_api_requests",),
        ),
    ),
)

# For each provider, with its name in front
EVERY_PROVIDER = Group(
    "Every provider",
    (
        Setting(
            "SEND_DEFAULTS",
            "As :setting:`SEND_DEFAULTS`, for one provider; its keys replace those of "
            ":setting:`SEND_DEFAULTS`.",
            default=None,
            default_text="``{}``",
            options=("send_defaults",),
        ),
        Setting(
            "IDNA_ENCODER",
            "As :setting:`IDNA_ENCODER`, for one provider.",
            default=None,
            default_text="what :setting:`IDNA_ENCODER` says",
            options=("idna_encoder",),
        ),
    ),
    prefix="<PROVIDER>",
)

WEBHOOKS = Group(
    "Webhooks",
    (
        Setting(
            "WEBHOOK_SECRET",
            'The ``"user:password"`` for basic auth of all webhooks, or a list of several that '
            "are valid. See :ref:`securing-webhooks`.",
            scope="webhooks",
            default=[],
            default_text="none",
            argument="basic_auth",
        ),
        Setting(
            "REQUIRE_WEBHOOK_AUTH",
            "Whether webhooks that anyone could call refuse all calls. New projects should set it "
            "to ``True``.",
            scope="webhooks",
            default=False,
        ),
        Setting(
            "WEBHOOK_MAX_AGE",
            "How many seconds a call's timestamp can be away from now, in either direction; "
            "``None`` for any number. Only where a timestamp is signed: see :ref:`the table "
            "<webhook-protection>`. Providers repeat failed calls for hours, some of them with the "
            "first timestamp: those would be refused, so prefer :setting:`WEBHOOK_DEDUPE_CACHE` "
            "against replays.",
            scope="webhooks",
            default=None,
        ),
        Setting(
            "WEBHOOK_DEDUPE_CACHE",
            "Name of a cache in Django's :setting:`CACHES` that remembers which events were "
            "handled: one that all processes share. See :ref:`webhook-duplicates`.",
            scope="webhooks",
            default=None,
            default_text="none",
        ),
        Setting(
            "WEBHOOK_DEDUPE_SECONDS",
            "How many seconds :setting:`WEBHOOK_DEDUPE_CACHE` remembers an event.",
            scope="webhooks",
            default=3 * 24 * 60 * 60,
            default_text="three days",
        ),
        Setting(
            "WEBHOOK_ISOLATE_EVENTS",
            "Whether all events of a call are sent to receivers even if a receiver raised an "
            "exception for one of them. (The call is answered with a 500 in the end, so that the "
            "provider repeats it. With ``ATOMIC_REQUESTS``, each event has its own transaction.)",
            scope="webhooks",
            default=False,
        ),
        Setting(
            "INBOUND_MAX_BYTES",
            "Limit of what is downloaded for one received message, where the provider's webhook "
            "only refers to it; ``None`` for no limit.",
            scope="webhooks",
            default=50 * 1024 * 1024,
            default_text="50 MiB",
        ),
    ),
)

_PROVIDERS = {
    "amazon_ses": Group(
        "Amazon SES",
        (
            Setting(
                "CLIENT_PARAMS",
                "Dict of arguments for boto3's ``Session.client()``, such as ``region_name``, "
                '``aws_access_key_id`` and ``aws_secret_access_key``. Its ``"config"`` can be a '
                "botocore ``Config``, or a dict of arguments for one. The option replaces the "
                "setting. See :ref:`amazon-ses-credentials`.",
                scope="both",
                default={},
                options=("client_params",),
                argument="client_params",
            ),
            Setting(
                "SESSION_PARAMS",
                "Dict of arguments for ``boto3.session.Session()``, such as ``profile_name``.",
                scope="both",
                default={},
                options=("session_params",),
                argument="session_params",
            ),
            Setting(
                "CONFIGURATION_SET_NAME",
                "Name of the configuration set to send with. For one message: "
                '``esp_extra = {"ConfigurationSetName": ...}``.',
                default=None,
                default_text="that of the identity",
                options=("configuration_set_name",),
            ),
            Setting(
                "MESSAGE_TAG_NAME",
                "Name of an SES message tag to send a message's (only) tag as, too. See "
                ":ref:`amazon-ses-tags`.",
                default=None,
                default_text="none",
                options=("message_tag_name",),
            ),
            _AUTO_CONFIRM,
            Setting(
                "VERIFY_SNS_SIGNATURE",
                "Whether the webhooks verify SNS's signatures. See :ref:`amazon-ses-signatures`.",
                scope="webhooks",
                default=None,
                default_text="if :setting:`REQUIRE_WEBHOOK_AUTH` is ``True``",
                argument="verify_sns_signature",
            ),
            _TOPIC_ARNS,
            Setting(
                "INBOUND_KMS_KEY_ID",
                "Id, ARN or alias of the KMS key that received messages are encrypted with. See "
                ":ref:`amazon-ses-encryption`.",
                scope="webhooks",
                default=None,
                default_text="they are not encrypted",
                argument="inbound_kms_key_id",
            ),
            Setting(
                "DOWNLOAD_CHUNK_SIZE",
                "How many bytes of a received message are read from S3 at a time.",
                scope="webhooks",
                default=65536,
                argument="download_chunk_size",
            ),
        ),
    ),
    "brevo": Group(
        "Brevo",
        (
            _api_key(
                "API_KEY",
                "A v3 API key, which starts with ``xkeysib-``: find it in your Brevo account under "
                "*SMTP & API*, *API keys*. (The SMTP key is another.)",
                scope="both",
                required="for sending, and for the inbound webhook",
            ),
            _api_url(
                "https://api.brevo.com/v3/",
                "Attachments of inbound messages come from there, too.",
                scope="both",
            ),
            Setting(
                "HTML_FROM_TEXT",
                "Whether to make HTML of the text of messages that have nothing else, which Brevo "
                "refuses. See :ref:`brevo-html`.",
                default=False,
                options=("html_from_text",),
            ),
            Setting(
                "WORKAROUND_DISPLAY_NAME_BUGS",
                "Whether to encode display names that Brevo would lose. See :ref:`brevo-quirks`.",
                default=True,
                options=("workaround_display_name_bugs",),
            ),
            Setting(
                "PREVENT_HEADER_ENCODING_BUGS",
                "Whether to refuse non-ASCII characters in headers and metadata, which Brevo does "
                "not encode.",
                default=True,
                options=("prevent_header_encoding_bugs",),
            ),
        ),
    ),
    "mailersend": Group(
        "MailerSend",
        (
            _api_key(
                "API_TOKEN",
                "An API token of the domain that you send from; sending is all that it must be "
                'allowed to do. For one message: ``esp_extra = {"api_token": ...}``.',
            ),
            _api_url("https://api.mailersend.com/v1/"),
            Setting(
                "BATCH_SEND_MODE",
                'How to send batches: ``"use-bulk-email"`` or ``"expose-to-list"``. See '
                ":ref:`mailersend-templates`. For one message: "
                '``esp_extra = {"batch_send_mode": ...}``.',
                default=None,
                default_text="not at all to several recipients",
                options=("batch_send_mode",),
            ),
            Setting(
                "SIGNING_SECRET",
                "The *signing secret* of the tracking webhook, or a list of several that are all "
                "valid, while you change it.",
                scope="webhooks",
                required="for the tracking webhook",
                argument="signing_secret",
            ),
            Setting(
                "INBOUND_SECRET",
                "The *secret* of the inbound route, which is another one; or a list of several.",
                scope="webhooks",
                required="for the inbound webhook",
                argument="inbound_secret",
            ),
        ),
    ),
    "mailgun": Group(
        "Mailgun",
        (
            _api_key(
                "API_KEY",
                "One of your domain's *sending keys*, which can do nothing but send. (An API key "
                "of the whole account works, too.)",
                scope="both",
                argument="api_key",
            ),
            _api_url(
                "https://api.mailgun.net/v3",
                "Without a domain, and without ``/messages``. For domains in Mailgun's EU region, "
                'use ``"https://api.eu.mailgun.net/v3"``.',
            ),
            Setting(
                "SENDER_DOMAIN",
                "The Mailgun domain to send from. See :ref:`mailgun-sender-domain`.",
                default=None,
                default_text="the domain of each message's ``from_email``",
                options=("sender_domain",),
                bare=True,
            ),
            Setting(
                "WEBHOOK_SIGNING_KEY",
                "The account's *HTTP webhook signing key*, from Mailgun's dashboard. This is not "
                "an API key. Without it, Anymail checks signatures with "
                ":setting:`MAILGUN_API_KEY`. It can be a list of keys that are all valid, while "
                "you change it. For the webhooks of a subaccount, the key of the primary account "
                "does as well.",
                scope="webhooks",
                default=None,
                default_text="the value of :setting:`MAILGUN_API_KEY`",
                required="for webhooks, unless the API key happens to be the same",
                argument="webhook_signing_key",
            ),
        ),
    ),
    "mailjet": Group(
        "Mailjet",
        (
            _api_key(
                "API_KEY",
                "The API key: find it in your Mailjet account under *REST API*, *API key "
                "management*.",
            ),
            _api_key(
                "SECRET_KEY",
                "The secret key that belongs to it. Some pages of Mailjet's call it the private "
                "key.",
            ),
            _api_url(
                "https://api.mailjet.com/v3.1/",
                'For accounts in the US it is ``"https://api.us.mailjet.com/v3.1/"``.',
            ),
        ),
    ),
    "mailtrap": Group(
        "Mailtrap",
        (
            _api_key(
                "API_TOKEN",
                "An API token with access to your sending domain or sandbox; for received messages "
                "also, with access to the inbox.",
                scope="both",
                required="for sending, and for the inbound webhook",
                argument="api_token",
            ),
            Setting(
                "SANDBOX_ID",
                "The number of one of your sandboxes, to have messages land there rather than be "
                "sent. See :ref:`mailtrap-sandbox`.",
                default=None,
                default_text="none",
                options=("sandbox_id",),
            ),
            Setting(
                "API_URL",
                "Base URL of the API for sending. For the bulk stream, use "
                '``"https://bulk.api.mailtrap.io/api/"``.',
                default_text='``"https://send.api.mailtrap.io/api/"``, or with a sandbox id '
                '``"https://sandbox.api.mailtrap.io/api/"``',
                options=("api_url",),
            ),
            Setting(
                "TRACKING_SECRET",
                "The *signing secret* of your webhook for sent messages. See "
                ":ref:`mailtrap-tracking`. It can be a list of several that are all valid. That's "
                "how to reset a secret, or to have several webhooks, without losing calls: "
                "Mailtrap itself stops using the old one at once.",
                scope="webhooks",
                default=None,
                default_text="signatures are not verified",
                argument="tracking_secret",
            ),
            Setting(
                "INBOUND_SECRET",
                "The *signing secret* of your webhook for received messages, or a list of several. "
                "See :ref:`mailtrap-inbound`.",
                scope="webhooks",
                default=None,
                default_text="signatures are not verified",
                argument="inbound_secret",
            ),
            Setting(
                "INBOUND_API_URL",
                "Base URL of the API from which received messages are fetched. "
                "(:setting:`MAILTRAP_API_URL` is for sending only. In earlier releases of "
                "Anymail, it was also where received messages came from, although that's another "
                "host.)",
                scope="webhooks",
                default="https://mailtrap.io/api/",
                argument="api_url",
            ),
            _DOWNLOAD_HOSTS,
            _CHUNK_SIZE,
        ),
    ),
    "mandrill": Group(
        "Mandrill",
        (
            _api_key(
                "API_KEY",
                "An API key: make one in Mandrill under *Settings*, *SMTP & API Info*. For one "
                'message: ``esp_extra = {"key": ...}``.',
            ),
            _api_url("https://mandrillapp.com/api/1.0"),
            Setting(
                "WEBHOOK_KEY",
                "The key that Mandrill signs its calls with. See :ref:`mandrill-tracking`. Each "
                "webhook and inbound route has its own: with several of them, and while you change "
                "a key, list them all.",
                scope="webhooks",
                default=None,
                required="for webhooks",
                argument="webhook_key",
                bare=True,
            ),
            Setting(
                "WEBHOOK_URL",
                "The webhook's URL, exactly as you have entered it in Mandrill, with "
                "``USER:PASSWORD`` if that is part of it. It is signed as well.",
                scope="webhooks",
                default=None,
                default_text="the URL of the request as Django sees it",
                argument="webhook_url",
                bare=True,
            ),
        ),
    ),
    "postal": Group(
        "Postal",
        (
            _api_key(
                "API_KEY", "The key of an *API credential* of one of your Postal mail servers."
            ),
            Setting(
                "API_URL",
                'URL of your Postal installation, such as ``"https://postal.example.com"``, '
                "without ``/api/v1``.",
                required="for sending",
                options=("api_url",),
            ),
            Setting(
                "WEBHOOK_KEY",
                "The public key of the installation: in the output of ``postal "
                "default-dkim-record``, it is what follows ``p=``, up to the semicolon. It can be "
                "on one line or on several. While you change it, a list of the old and the new "
                "one.",
                scope="webhooks",
                required="for webhooks",
                argument="webhook_key",
                bare=True,
            ),
            Setting(
                "REQUIRE_SHA256",
                "Whether to refuse calls that have only an SHA-1 signature. See "
                ":ref:`postal-tracking`. Set it to ``True`` if you have Postal 3.2.0 or newer.",
                scope="webhooks",
                default=False,
                argument="require_sha256",
            ),
        ),
    ),
    "postmark": Group(
        "Postmark",
        (
            _api_key(
                "SERVER_TOKEN",
                "The API token of one of your Postmark servers: find it in the server's *API "
                'Tokens* tab. For one message: ``esp_extra = {"server_token": ...}``.',
            ),
            _api_url("https://api.postmarkapp.com/"),
            Setting(
                "MESSAGE_STREAM",
                'ID of the message stream to send through, such as ``"broadcasts"``. For one '
                'message: ``esp_extra = {"MessageStream": ...}``.',
                default=None,
                default_text="Postmark's own default, the transactional stream",
                options=("message_stream",),
            ),
            Setting(
                "USE_BULK_API",
                "Whether to send everything with the bulk API. See :ref:`postmark-bulk`.",
                default=False,
                options=("use_bulk_api",),
            ),
            Setting(
                "GENERATE_MESSAGE_ID",
                "Whether Anymail makes up message ids when it uses the bulk API.",
                default_text="the value of :setting:`POSTMARK_USE_BULK_API`",
                options=("generate_message_id",),
            ),
        ),
    ),
    "resend": Group(
        "Resend",
        (
            _api_key(
                "API_KEY",
                "An API key. One with *sending access* will do for sending; the inbound webhook "
                "needs *full access*. To have a key that can do nothing but send, give that to the "
                "backend in ``MAILERS``, and put the one with full access into ``ANYMAIL``.",
                scope="both",
                required="for sending, and for the inbound webhook",
            ),
            _api_url(
                "https://api.resend.com/",
                "Inbound messages are fetched from there, too.",
                scope="both",
            ),
            Setting(
                "VERIFY_ATTACHMENT_EXTENSIONS",
                "Whether to refuse attachments whose names don't fit their types. See "
                ":ref:`resend-quirks`.",
                default=True,
                options=("verify_attachment_extensions",),
            ),
            Setting(
                "SIGNING_SECRET",
                "The signing secret of the tracking webhook, which starts with ``whsec_``, or a "
                "list of several that are all valid. See :ref:`resend-tracking`.",
                scope="webhooks",
                default=None,
                default_text="signatures are not verified",
                argument="signing_secret",
            ),
            Setting(
                "INBOUND_SECRET",
                "The signing secret of the inbound webhook, or a list of several.",
                scope="webhooks",
                default=None,
                default_text="signatures are not verified",
                argument="inbound_secret",
            ),
            _DOWNLOAD_HOSTS,
            _CHUNK_SIZE,
        ),
    ),
    "scaleway": Group(
        "Scaleway",
        (
            _api_key(
                "SECRET_KEY",
                "The secret key (not the access key) of an IAM API key that may send for the "
                "project.",
            ),
            Setting(
                "PROJECT_ID",
                "The project that your domain belongs to. For one message: "
                '``esp_extra = {"project_id": ...}``.',
                required="for sending",
                options=("project_id",),
            ),
            Setting(
                "REGION",
                "The region. The default is the only one that offers the service so far.",
                default="fr-par",
                options=("region",),
            ),
            _api_url(
                "https://api.scaleway.com/transactional-email/v1alpha1/regions/{region}/",
                "``{region}`` in it is replaced by the region.",
            ),
            Setting(
                "SNS_TRUST_CHAIN",
                "Scaleway's certificates to verify signatures of webhook calls with: text in PEM "
                "form, or the path of a file. See :ref:`scaleway-signatures`.",
                scope="webhooks",
                default=None,
                default_text="signatures are not verified",
                argument="sns_trust_chain",
            ),
            _TOPIC_ARNS,
            _AUTO_CONFIRM,
        ),
    ),
    "sendgrid": Group(
        "SendGrid",
        (
            _api_key("API_KEY", "An API key with *Mail Send* access."),
            _api_url(
                "https://api.sendgrid.com/v3/",
                'For subusers in SendGrid\'s EU region, use ``"https://api.eu.sendgrid.com/v3/"``.',
            ),
            Setting(
                "GENERATE_MESSAGE_ID",
                "Whether Anymail gives each message an id of its own. See "
                ":ref:`sendgrid-message-id`.",
                default=True,
                options=("generate_message_id",),
            ),
            Setting(
                "MERGE_FIELD_FORMAT",
                'How merge fields are written in legacy templates, such as ``"-{}-"``. See '
                ":ref:`sendgrid-legacy-templates`. For one message: "
                '``esp_extra = {"merge_field_format": ...}``.',
                default=None,
                default_text="as they are in ``merge_data``",
                options=("merge_field_format",),
            ),
            Setting(
                "TRACKING_WEBHOOK_VERIFICATION_KEY",
                "The *verification key* of your signed event webhook, or a list of several that "
                "are all valid. See :ref:`sendgrid-tracking`.",
                scope="webhooks",
                default=None,
                default_text="signatures are not verified",
                argument="tracking_webhook_verification_key",
                bare=True,
            ),
            Setting(
                "INBOUND_WEBHOOK_VERIFICATION_KEY",
                "The *public key* of the security policy for your inbound parse webhook, or a list "
                "of several. See :ref:`sendgrid-inbound`.",
                scope="webhooks",
                default=None,
                default_text="signatures are not verified",
                argument="inbound_webhook_verification_key",
                bare=True,
            ),
            Setting(
                "USERNAME",
                "Must not be set: SendGrid's API does not take user names and passwords.",
                default=None,
                default_text="none",
                options=("username",),
                bare=True,
            ),
            Setting(
                "PASSWORD",
                "Must not be set, either.",
                default=None,
                default_text="none",
                options=("password",),
                bare=True,
            ),
        ),
    ),
    "sparkpost": Group(
        "SparkPost",
        (
            _api_key(
                "API_KEY",
                "An API key that has at least *Transmissions: Read/Write*. It is not read from the "
                "environment.",
            ),
            _api_url(
                "https://api.sparkpost.com/api/v1/",
                "It includes the version. For accounts in SparkPost's EU region, which are "
                'separate, use ``"https://api.eu.sparkpost.com/api/v1/"``.',
            ),
            Setting(
                "SUBACCOUNT",
                "Number of the subaccount to send from.",
                default=None,
                default_text="none",
                options=("subaccount",),
            ),
            Setting(
                "TRACK_INITIAL_OPEN_AS_OPENED",
                'Whether SparkPost\'s "initial open" events are reported as opened, too. See '
                ":ref:`sparkpost-tracking`.",
                scope="webhooks",
                default=False,
                argument="track_initial_open_as_opened",
            ),
        ),
    ),
    "unisender_go": Group(
        "Unisender Go",
        (
            _api_key(
                "API_KEY",
                "The API key of your account, or of a project. It also verifies the webhook's "
                "signatures. It can be a list: the webhook takes signatures by any of the keys, "
                "and the first one is used to send.",
                scope="both",
                required="for sending, and for the webhook",
                argument="api_key",
            ),
            Setting(
                "API_URL",
                "Base URL of the API, for the data center that your account is in: "
                '``"https://go1.unisender.ru/ru/transactional/api/v1/"`` or '
                '``"https://go2.unisender.ru/ru/transactional/api/v1/"``.',
                required="for sending",
                options=("api_url",),
            ),
            Setting(
                "GENERATE_MESSAGE_ID",
                "Whether Anymail gives each recipient an id of its own. See "
                ":ref:`unisender-go-message-id`.",
                default=True,
                options=("generate_message_id",),
            ),
            Setting(
                "WORKAROUND_DISPLAY_NAME_BUGS",
                "Whether to encode display names that Unisender Go would get wrong. See "
                ":ref:`unisender-go-quirks`.",
                default=True,
                options=("workaround_display_name_bugs",),
            ),
        ),
    ),
}

GROUPS: dict[str, Group] = {
    "general": GENERAL,
    "every_provider": EVERY_PROVIDER,
    "webhooks": WEBHOOKS,
    **{
        name: Group(group.title, group.settings, prefix=name.upper())
        for name, group in _PROVIDERS.items()
    },
}
"""By the name that the docs refer to them with: for providers, that of their modules."""

ALIASES = {"SENDINBLUE": "BREVO"}
"""Former names of providers, whose settings are those of the current name."""


def all_names() -> set[str]:
    """Return the full names of the settings that the docs describe one by one."""
    return {
        group.full_name(setting)
        for group in GROUPS.values()
        if group is not EVERY_PROVIDER
        for setting in group.settings
    }

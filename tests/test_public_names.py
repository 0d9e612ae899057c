"""Pins the names that projects and other packages can rely on.

To take a name away is to break somebody's code: that needs a deprecation first. To add one is a
promise. Either way, this is the place where a change of the public interface shows.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

from django.test import SimpleTestCase

import anymail

from .test_architecture import SHARED, STRATEGIES

# What each module defines (without what it imports for its own use).
DEFINED: dict[str, set[str]] = {
    "anymail": {"VERSION", "__version__", "mailers"},
    "anymail._idna": {"idna2003", "idna2008", "none", "uts46"},
    "anymail.addresses": {
        *("are_plain_addresses", "parse_plain_addr_spec"),
        *(
            "EmailAddress",
            "IdnaEncoder",
            "MAX_ADDR_SPEC_LENGTH",
            "RecipientMap",
            "ReportedAddresses",
            "T",
        ),
        *("parse_address_list", "parse_single_address"),
    },
    "anymail.aio": {"asend_mail", "asend_messages", "send_one"},
    "anymail.apps": {"AnymailBaseConfig"},
    "anymail.attachments": {"SMTP7BIT", "Attachment", "unpack_alternative"},
    "anymail.backends": set(),
    "anymail.backends.base": {"AnymailBaseBackend", "DEFAULT_IDNA_ENCODER"},
    "anymail.backends.base_requests": {
        *("AnymailRequestsBackend", "DEFAULT_TIMEOUT", "RequestsPayload"),
    },
    "anymail.backends.console": {"EmailBackend"},
    **{f"anymail.backends.{name}": {"EmailBackend"} for name in STRATEGIES - {"later"}},
    "anymail.backends.later": {"EmailBackend", "later_mailers", "logger"},
    "anymail.backends.test": {"EmailBackend", "TestPayload"},
    "anymail.checks": {
        *("check_deprecated_settings", "check_insecure_settings", "check_open_webhooks"),
        "check_later",
        *("check_ignored_mailers", "check_mailers", "check_unknown_settings"),
        *("check_sandbox", "check_webhook_later", "check_webhook_secret"),
        *("check_dedupe_cache", "check_delivery_cache", "check_repeated_calls"),
        "get_configured_email_backends",
    },
    "anymail.conf": {
        *("Setting", "T", "as_list", "base_url", "basic_auth_secrets", "configuration_error"),
        *("credential", "credentials", "declared_settings", "get_anymail_setting", "number"),
        *("project_settings", "read_settings", "setting", "setting_name"),
        *("SANDBOX", "sandbox_url", "DJANGO_HAS_MAILERS", "mailers_setting"),
    },
    "anymail.datastructures": {
        *("UNSET", "Unset", "concat_lists", "force_non_lazy", "last_value"),
        *("force_non_lazy_dict", "force_non_lazy_list", "getfirst", "is_lazy", "last"),
        *("merge_dicts_deep", "merge_dicts_one_level", "merge_dicts_shallow", "update_deep"),
    },
    "anymail.exceptions": {
        *("AnymailAPIError", "AnymailCancelSend", "AnymailConfigurationError"),
        *("AnymailDeprecationWarning", "AnymailError", "AnymailImproperlyInstalled"),
        *("AnymailInboundLimitExceeded", "AnymailInsecureWebhookWarning"),
        *("AnymailInvalidAddress", "AnymailInvalidHeader"),
        *("AnymailInvalidMailer", "AnymailNotSupportedWarning", "AnymailRecipientsRefused"),
        "AnymailLaterError",
        *("AnymailRequestsAPIError", "AnymailSerializationError", "AnymailUnsupportedFeature"),
        *("AnymailWarning", "AnymailWebhookValidationFailure", "InvalidMailer", "problem_of"),
        *("MAX_DESCRIPTION", "Problem"),
    },
    "anymail.headers": {
        *("RFC5322_SPECIALS", "CaseInsensitiveCasePreservingDict", "angle_wrap"),
        *("check_header_text", "has_control_chars", "has_specials", "normalize_date"),
        *("parse_rfc2822date", "rfc2047_normalize"),
        *("quote_string", "rfc2047_decode", "rfc2047_encode", "rfc2822date", "unfold"),
        *("unquote_string",),
    },
    "anymail.http": {
        *("DEFAULT_DOWNLOAD_CHUNK_SIZE", "get_request_basic_auth", "get_request_uri"),
        *("is_html_page", "no_netrc", "no_redirect", "querydict_getfirst", "with_trailing_slash"),
    },
    "anymail.inbound": {
        *("AnymailInboundMessage", "CHUNK_SIZE", "DEFAULT_ATTACHMENT_NAME", "DEFAULT_CONTENT_TYPE"),
        *("MAX_ADDRESSES", "MAX_HEADERS", "MAX_HEADERS_LENGTH", "MAX_HEADER_LENGTH"),
        *("MAX_NESTING", "MAX_PARTS"),
    },
    "anymail.sending.awaitable": {
        *("AwaitableBackend", "DEFAULT_CONCURRENCY"),
        *("asend_with", "is_suspendable", "send_with", "suspendable"),
    },
    "anymail.later": {"send_later"},
    "anymail.later.worker": {
        *("AGAIN_SECONDS", "ENQUEUE_SECONDS", "JobAttempt", "State", "Work", "deliver", "logger"),
        *("first_state", "job_message", "ledger_alias", "perform"),
    },
    "anymail.later.engines": {
        *("Engine", "TasksEngine", "CeleryEngine", "InlineEngine", "as_engine", "get_engine"),
        *("ForeignEngine", "MAX_HANGING", "WORKER_FUNCTIONS", "celery_app", "enqueue_within"),
        *("later_error", "tasks_package", "tasks_path", "worker_function"),
    },
    "anymail.message": {
        *("ANYMAIL_STATUSES", "AnymailMessage", "AnymailMessageMixin", "AnymailRecipientStatus"),
        *("AnymailStatus", "attach_inline_image", "attach_inline_image_file"),
    },
    "anymail.sending.batches": {
        *("BATCH_ATTRS", "BatchRecipient", "NativeBatch", "individual_messages"),
        *("match_recipients", "partial_messages"),
    },
    "anymail.sending.shared_calls": {"PartOfResponse", "Results", "SharedCall"},
    "anymail.sending.results": {"FAILED", "RecipientResults", "UNKNOWN"},
    "anymail.signals": {
        *("AnymailEvent", "AnymailInboundEvent", "AnymailTrackingEvent"),
        *("EventType", "RejectReason", "inbound", "post_send", "pre_send", "send_failed"),
        "tracking",
    },
    "anymail.urls": {"View", "WEBHOOKS", "app_name", "loaded_view", "urlpatterns"},
    "anymail.utils": {"BASIC_NUMERIC_TYPES"},  # the others are in test_utils.py
    "anymail.webhooks": set(),
    "anymail.webhooks.base": {
        *("AnymailBaseWebhookView", "AnymailBasicAuthMixin", "AnymailCoreWebhookView"),
        *("as_keys", "logger"),
    },
}

# For Anymail's own use: what they define can change any time.
INTERNAL = {
    *(
        "anymail.aws",
        "anymail._connections",
        "anymail.methods",
        "anymail._docs",
        "anymail._version",
        "anymail.address_syntax",
        "anymail.charsets",
        "anymail.masking",
        "anymail.mime",
        "anymail.sending.connections",
        "anymail.sending.large_batches",
        "anymail.backends.sending",
        "anymail.delivery",
        "anymail.delivery.alone",
        "anymail.delivery.decisions",
        "anymail.delivery.keyed",
        "anymail.delivery.foreign",
        "anymail.delivery.ledger",
        "anymail.delivery.mailers",
        "anymail.delivery.meaning",
        "anymail.delivery.memory",
        "anymail.delivery.pauses",
        "anymail.delivery.rate",
        "anymail.delivery.snapshot",
        "anymail.delivery.strategy",
        "anymail.later.celery",
        "anymail.later.celery_request",
        "anymail.later.diagnosis",
        "anymail.later.executions",
        "anymail.later.job",
        "anymail.later.mail",
        "anymail.later.send",
        "anymail.later.storage",
        "anymail.sending",
        "anymail.sending.async_http",
        "anymail.sending.answers",
        "anymail.sending.attributes",
        "anymail.sending.calls",
        "anymail.sending.failures",
        "anymail.sending.joining",
        "anymail.sending.journey",
        "anymail.sending.keys",
        "anymail.sending.lean",
        "anymail.sending.payload",
        "anymail.sending.problems",
        "anymail.sending.runners",
        "anymail.sending.sequential",
        "anymail.sending.steps",
        "anymail.sending.suspendable",
        "anymail.sending.telling",
        "anymail.sending.waiting",
        "anymail.diagnosis",
        "anymail.known_settings",
        "anymail.providers",
        "anymail.pytest_plugin",
        "anymail.tasks",
        "anymail.transactions",
    ),
}
# Packages that only import their names from modules of their own.
PACKAGES = {"anymail", "anymail.inbound", "anymail.later"}
INTERNAL |= {f"anymail.webhooks.{name}" for name in SHARED["webhooks"] - {"base"}}

# Names that modules do not define, but that are imported from them.
IMPORTED = {
    "anymail.datastructures": {"collect_all_methods", "last"},
    "anymail.message": {"UNSET"},
    "anymail.exceptions": {"_LazyError"},
    "anymail.webhooks.base": {"as_list", "basic_auth_secrets", "get_anymail_setting"},
    "anymail.backends.base": {
        *("ApiCall", "BasePayload", "Combiner", "Converter", "MessageAttr", "get_anymail_setting"),
        *("AnymailCancelSend", "AnymailError", "AnymailRecipientsRefused"),
        *("AnymailSerializationError", "AnymailUnsupportedFeature", "Attachment", "EmailAddress"),
        *("UNSET", "concat_lists", "force_non_lazy", "force_non_lazy_dict"),
        *("force_non_lazy_list", "is_lazy", "last", "merge_dicts_deep", "merge_dicts_one_level"),
        *("merge_dicts_shallow", "parse_address_list", "parse_single_address"),
        *("post_send", "pre_send"),
    },
    "anymail.backends.base_requests": {"get_anymail_setting"},
}

# Attributes and methods of the classes that others extend or use: those without an underscore in
# front, and those with one that are known to be in use.
MEMBERS: dict[str, set[str]] = {
    "anymail.addresses:EmailAddress": {
        *("addr_spec", "address", "as_dict", "as_written", "format", "format_addr_spec"),
        *("format_display_name", "uses_eai", "display_name", "username", "domain"),
    },
    "anymail.attachments:Attachment": {
        *("b64content", "b64content_utf8", "content_bytes", "content_utf8_bytes"),
        *("content_type_without_charset",),
    },
    "anymail.backends.base:AnymailBaseBackend": {
        *("call_seconds", "idempotency", "journeys_of", "max_wait", "retries", "KEY_USED"),
        *(
            "rate",
            "rate_cost",
            "rate_storage",
            "wait_for_rate",
            "account_hash",
            "template_ids",
            "split_batches",
        ),
        *("build_message_payload", "close", "esp_name", "idna_encode", "is_open", "make_call"),
        *(
            "ERRORS",
            "error_codes",
            "makes_usual_calls",
            "find_meaning",
            "find_retry_after",
            "forget_call",
            "is_own_answer",
            "run_journeys",
            "takes_alias",
            "open",
            "parse_recipient_status",
            "choose_esp_extra",
            "parse_repeat",
            "was_sent_before",
            "post_to_esp",
            "prepare_call",
        ),
        *("raise_for_recipient_status", "raise_for_status", "run_post_send", "run_pre_send"),
        *("debug_api_requests", "idna_encoder", "ignore_recipient_status"),
        *("ignore_unsupported_features", "send_concurrency", "send_defaults", "send_messages"),
        *("send_batch_size", "shared_call"),
    },
    "anymail.backends.base:BasePayload": {
        *("base_message_attrs", "anymail_message_attrs", "esp_message_attrs", "batch_attrs"),
        *("init_payload", "is_batch", "process_extra_headers", "validate_not_bare_string"),
        *("prepped_alternatives", "prepped_attachments", "aware_datetime", "serialize_json"),
        *("unsupported_feature", "check_header_value", "check_extra_fields"),
        *("set_from_email_list", "set_from_email", "set_to", "set_cc", "set_bcc"),
        *("set_recipients", "add_recipient", "set_subject", "set_reply_to"),
        *("set_extra_headers", "set_body", "set_text_body", "set_html_body"),
        *("set_alternatives", "add_alternative", "set_attachments", "add_attachment"),
        *("set_spoofed_to_header", "set_envelope_sender", "set_metadata", "set_send_at"),
        *("set_tags", "set_track_clicks", "set_track_opens", "set_template_id"),
        *("set_merge_data", "set_merge_headers", "set_merge_global_data"),
        *("set_merge_metadata", "set_esp_extra", "native_batch", "get_recipients"),
        *("batch_recipients", "split", "split_large", "make_id", "make_ids", "adapt_template_id"),
        *("has_own_recipients", "is_individual", "messages_per_call"),
    },
    "anymail.backends.base_requests:AnymailRequestsBackend": {
        *("close", "create_session", "deserialize_json_response", "invalid_response_format"),
        *("checked_statuses", "connection_max_idle", "is_open", "make_call", "open"),
        *("prepare_call", "raise_for_status", "response_error", "timeout"),
        *("call_seconds", "forget_call", "has_default_timeout"),
    },
    "anymail.backends.base_requests:RequestsPayload": {
        *("get_api_endpoint", "get_request_params", "serialize_data"),
        *("shared_endpoint", "shared_item", "shared_trait"),
    },
    "anymail.exceptions:AnymailError": {
        *("describe_cause", "describe_response", "recipients"),
        *(
            "about_sender",
            "advice",
            "is_canceled",
            "is_our_own",
            "may_have_been_sent",
            "problem",
            "retry_after",
            "unsent",
        ),
    },
    "anymail.exceptions:AnymailAPIError": {"esp_message", "handed_over"},
    "anymail.message:AnymailMessageMixin": {
        *(
            "anymail_error",
            "anymail_job_id",
            "attach",
            "attach_inline_image",
            "attach_inline_image_file",
        ),
        "asend",
        "send_later",
    },
    "anymail.message:AnymailStatus": {
        *("attempts", "is_accepted", "mailer", "may_be_accepted", "set_recipient_status"),
    },
    "anymail.testing:Outbox": {
        *("assert_not_sent", "assert_nothing_more", "assert_sent", "clear", "count", "mails"),
        *("bounce", "click", "complain", "deliver", "open", "reply", "report", "unsubscribe"),
        *("deliver_later", "fail_next"),
    },
    "anymail.testing:SentMail": {
        *("as_provider", "attachment", "code", "later", "link", "links", "mailer", "message_id"),
        *("provider", "status", "stored"),
        *("attachments", "bcc", "cc", "envelope_sender", "esp_extra", "from_email", "headers"),
        *("html", "merge_data", "merge_global_data", "merge_headers", "merge_metadata"),
        *("metadata", "reply_to", "send_at", "subject", "tags", "template_id", "text", "to"),
        *("track_clicks", "track_opens"),
    },
    "anymail.webhooks.base:AnymailCoreWebhookView": {
        *("as_view", "esp_name", "head", "http_method_names", "parse_events", "post"),
        *("run_validators", "signal", "validate_request", "check_freshness"),
        *("convert", "decode", "event_id_is_unique", "is_protected", "load_signature_keys"),
        "send_events",
        *("signature_keys", "signature_option", "signature_setting"),
        *("headers_for_worker", "is_about_webhook", "later", "when_handled"),
        *("require_webhook_auth", "webhook_isolate_events", "webhook_max_age"),
    },
    "anymail.webhooks.base:AnymailBasicAuthMixin": {
        *("basic_auth", "is_protected", "validate_request", "warn_if_no_basic_auth"),
    },
}
PRIVATE_MEMBERS: dict[str, set[str]] = {
    "anymail.backends.base:AnymailBaseBackend": {"_send"},
    "anymail.backends.base:BasePayload": {"_json_default"},
    "anymail.backends.base_requests:AnymailRequestsBackend": {"_dump_api_request"},
}

INBOUND_MESSAGE = {
    *("from_email", "to", "cc", "bcc", "subject", "date", "get_address_header"),
    *("get_date_header", "text", "html", "attachments", "inlines", "content_id_map"),
    *("is_attachment", "is_inline", "get_content_disposition", "get_filename", "get_content_bytes"),
    *("get_content_text", "as_uploaded_file", "inline_attachments", "is_inline_attachment"),
    *("parse_raw_mime", "parse_raw_mime_bytes", "parse_raw_mime_chunks", "parse_raw_mime_file"),
    *("construct", "construct_attachment", "construct_attachment_from_uploaded_file"),
}

# Parts of larger interfaces, which have tests of their own.
OTHERS = [
    "anymail.webhooks.amazon_ses:AmazonSESInboundWebhookView.download_s3_object",
    "anymail.webhooks.amazon_ses:AmazonSESBaseWebhookView._parse_sns_message",
    "anymail.webhooks.amazon_ses:AmazonSESBaseWebhookView.auto_confirm_sns_subscription",
    "anymail.webhooks.amazon_ses:_get_anymail_boto3_params",
    "anymail.webhooks.resend:ResendInboundWebhookView._fetch_attachment",
    "anymail.webhooks.resend:ResendInboundWebhookView._fetch_inbound_email",
]


def defined_names(path: Path) -> set[str]:
    """Names that a module defines at its top level, also in blocks of if and try."""
    names = set()

    def visit(statements: list[ast.stmt]) -> None:
        for statement in statements:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(statement.name)
            elif isinstance(statement, ast.Assign):
                names.update(node.id for node in statement.targets if isinstance(node, ast.Name))
            elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                names.add(statement.target.id)
            for block in ["body", "orelse", "handlers"]:
                if isinstance(statement, ast.If | ast.Try):
                    for nested in getattr(statement, block, []):
                        visit(nested.body if isinstance(nested, ast.ExceptHandler) else [nested])

    visit(ast.parse(path.read_text(encoding="utf-8")).body)
    return {name for name in names if not name.startswith("_")}


def resolve(path: str) -> Any:
    module_name, _, names = path.partition(":")
    found: Any = importlib.import_module(module_name)
    for name in names.split("."):
        found = getattr(found, name)
    return found


class ModulesTests(SimpleTestCase):
    def test_defined_names(self):
        for module_name, expected in DEFINED.items():
            with self.subTest(module=module_name):
                module = importlib.import_module(module_name)
                for name in expected:
                    self.assertTrue(hasattr(module, name), name)
                if module_name not in PACKAGES:
                    self.assertEqual(defined_names(Path(module.__file__)), expected)

    def test_every_module(self):
        """All but the modules of providers, which are alike, and the sandbox, which is a program"""
        package = Path(anymail.__file__).parent
        modules = {f"anymail.{path.stem}" for path in package.glob("*.py")} - {"anymail.__init__"}
        for name in ["backends", "webhooks"]:
            modules |= {f"anymail.{name}.{stem}" for stem in SHARED[name]}
        for name in ("sending", "later"):
            for path in (package / name).glob("[!_]*.py"):
                modules.add(f"anymail.{name}.{path.stem}")
        modules |= {"anymail", "anymail.backends", "anymail.inbound", "anymail.webhooks"}
        modules |= {"anymail.sending", "anymail.later"}
        self.assertLessEqual(set(DEFINED), modules)
        self.assertLessEqual(modules - set(DEFINED), INTERNAL)

    def test_imported_names(self):
        for module_name, expected in IMPORTED.items():
            module = importlib.import_module(module_name)
            for name in expected:
                with self.subTest(module=module_name, name=name):
                    self.assertTrue(hasattr(module, name))

    def test_all(self):
        self.assertEqual(set(anymail.__all__), {"VERSION", "__version__", "mailers"})
        for module_name in ["anymail._idna", "anymail.inbound", "anymail.message", "anymail.utils"]:
            module = importlib.import_module(module_name)
            defined = DEFINED[module_name] | IMPORTED.get(module_name, set())
            with self.subTest(module=module_name):
                self.assertLessEqual(defined, set(module.__all__))
                for name in module.__all__:
                    self.assertTrue(hasattr(module, name), name)

    def test_version(self):
        self.assertIs(type(anymail.__version__), str)
        self.assertRegex(anymail.__version__, r"^\d+\.\d+")
        self.assertEqual(anymail.VERSION, [anymail.__version__])

    def test_packages_are_empty(self):
        for name in ["backends", "sending", "webhooks"]:
            path = Path(anymail.__file__).parent / name / "__init__.py"
            self.assertEqual(path.read_text(encoding="utf-8"), "")

    def test_typed(self):
        self.assertTrue((Path(anymail.__file__).parent / "py.typed").is_file())


class MembersTests(SimpleTestCase):
    def test_members(self):
        for path, expected in MEMBERS.items():
            with self.subTest(path=path):
                members = {name for name in vars(resolve(path)) if not name.startswith("_")}
                self.assertEqual(members, expected)

    def test_inbound_message(self):
        self.assertLessEqual(
            INBOUND_MESSAGE, set(vars(resolve("anymail.inbound:AnymailInboundMessage")))
        )

    def test_private_members_in_use(self):
        for path, expected in PRIVATE_MEMBERS.items():
            with self.subTest(path=path):
                self.assertLessEqual(expected, set(vars(resolve(path))))

    def test_others(self):
        for path in OTHERS:
            with self.subTest(path=path):
                self.assertTrue(callable(resolve(path)))


class ProvidersTests(SimpleTestCase):
    """Every provider's module has its EmailBackend, with a name, and is found by that path."""

    def test_backends(self):
        directory = Path(anymail.__file__).parent / "backends"
        for path in directory.glob("*.py"):
            if path.stem in ("__init__", "base", "base_requests", "sending"):
                continue
            with self.subTest(module=path.stem):
                self.assertIn("EmailBackend", defined_names(path))
                try:
                    module = importlib.import_module(f"anymail.backends.{path.stem}")
                except ImportError:
                    if path.stem == "amazon_ses":  # needs boto3
                        continue
                    raise
                if path.stem not in STRATEGIES:
                    self.assertIs(type(module.EmailBackend.esp_name), str)

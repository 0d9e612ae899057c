"""``ANYMAIL["SANDBOX"]``: calls of providers' APIs go to the sandbox."""

from __future__ import annotations

import base64
import io
import re
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

from django.core import mail
from django.core.management import CommandError, ManagementUtility, call_command
from django.test import Client, SimpleTestCase, override_settings
from django.utils.module_loading import import_string

from anymail.addresses import EmailAddress
from anymail.checks import check_mailers, check_sandbox
from anymail.exceptions import AnymailConfigurationError
from anymail.management.commands import anymail_sandbox
from anymail.providers import PROVIDERS
from anymail.sandbox import Sandbox
from anymail.sandbox.providers import load_provider
from anymail.sandbox.store import Store, StoredMessage, StoredRecipient
from anymail.webhook_apis import project
from anymail.webhook_apis.urls import credentials_in

from .providers import own_settings
from .utils import make_message, use_backend

URL = "http://127.0.0.1:8035"
SES = "amazon_ses"


def a_message() -> Any:
    """Return a message that every provider takes."""
    message = make_message(subject="Long enough", body="Long enough")
    message.attach_alternative("<p>Long enough</p>", "text/html")
    return message


class TargetTests(SimpleTestCase):
    """All providers: where calls go."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.sandbox = Sandbox(webhook_url="http://127.0.0.1:9/anymail/")
        for provider in cls.sandbox.providers.values():
            provider.takes_any_key = True
        cls.sandbox.start()
        cls.addClassCleanup(cls.sandbox.stop)

    def test_messages(self):
        for name, provider in PROVIDERS.items():
            settings = {**own_settings(provider), "SANDBOX": f"{self.sandbox.base_url}/"}
            with self.subTest(name), override_settings(ANYMAIL=settings):
                with import_string(provider.backend)() as backend:
                    backend.send_messages([a_message()])
                self.assertEqual(self.sandbox.messages[-1].provider, name)
                if name != SES:
                    self.assertEqual(
                        backend.api_url.replace("nl-ams", "fr-par"), self.sandbox.url(name)
                    )

    def test_downloads_for_webhooks(self):
        found = set()
        for name, provider in PROVIDERS.items():
            keys = self.sandbox.provider(name).anymail_settings("")
            settings = {key: value for key, value in keys.items() if not key.endswith("_API_URL")}
            settings |= {"WEBHOOK_SECRET": "a:b", "SANDBOX": self.sandbox.base_url}
            if name == SES:
                settings |= own_settings(provider)
            for webhook in provider.webhook_views("inbound"):
                with self.subTest(name), override_settings(ANYMAIL=settings):
                    view = import_string(webhook.view_path)()
                    params = getattr(view, "client_params", {})
                    if (url := getattr(view, "api_url", params.get("endpoint_url"))) is not None:
                        self.assertEqual(url, self.sandbox.url(name))
                        found.add(name)
        self.assertEqual(found, {SES, "brevo", "mailtrap", "resend"})

    def test_explicit_urls_win(self):
        for name, provider in PROVIDERS.items():
            with self.subTest(name):
                settings = {**own_settings(provider), "SANDBOX": self.sandbox.base_url}
                target, options = "https://api.example.test/", {}
                if name == SES:
                    options = {
                        "client_params": {"endpoint_url": target, "region_name": "us-east-1"}
                    }
                else:
                    settings[f"{provider.settings_prefix}_API_URL"] = target
                with use_backend(provider.backend, ANYMAIL=settings):
                    backend = import_string(provider.backend)(**options)
                    params = getattr(backend, "client_params", {})
                    url = getattr(backend, "api_url", params.get("endpoint_url"))
                    self.assertEqual(url, target)
                    if name != SES:
                        for warning in (found := check_sandbox(None)):
                            self.assertIn(target.rstrip("/"), warning.msg)
                        self.assertTrue(found)

    def test_subclass_with_its_own_name(self):
        base: Any = import_string(PROVIDERS["postmark"].backend)
        backend_class = type("Backend", (base,), {"esp_name": "Mine"})
        with override_settings(ANYMAIL={"MINE_SERVER_TOKEN": "own-key", "SANDBOX": URL}):
            self.assertEqual(backend_class().api_url, f"{URL}/postmark/")


class NotInDevelopmentTests(SimpleTestCase):
    def setUp(self):
        super().setUp()
        # As if it were no test run, whose test runner also turns DEBUG off.
        patcher = patch.dict(vars(mail))
        patcher.start()
        self.addCleanup(patcher.stop)
        del mail.outbox

    def test_no_backend_can_be_made(self):
        for provider in PROVIDERS.values():
            settings = {**own_settings(provider), "SANDBOX": URL}
            options = {} if provider.module == SES else {"api_url": "https://api.example.test/"}
            with self.subTest(provider.module), override_settings(ANYMAIL=settings):
                with self.assertRaisesMessage(AnymailConfigurationError, "SANDBOX is for dev"):
                    import_string(provider.backend)(**options)
                with override_settings(DEBUG=True):
                    import_string(provider.backend)()

    def test_check(self):
        with use_backend(PROVIDERS["postmark"].backend, ANYMAIL={"SANDBOX": URL}):
            [error] = check_sandbox(None)
            self.assertEqual((error.id, error.level), ("anymail.E014", 40))
            self.assertIn("DEBUG = False", error.msg)
            self.assertEqual(check_mailers(None), [])


class AddressTests(SimpleTestCase):
    def test_only_on_this_computer(self):
        for url in (
            "http://sandbox.example.com",
            "http://10.0.0.1:80",
            "https://[",
            "127.0.0.1",
            5,
        ):
            with self.subTest(url), override_settings(ANYMAIL={"SANDBOX": url}):
                [error] = check_sandbox(None)
                self.assertIn("SANDBOX must be the URL of a sandbox on this computer", error.msg)
        for url in ("http://localhost:8035", "http://[::1]:80/", None):
            with self.subTest(url), override_settings(ANYMAIL={"SANDBOX": url}):
                self.assertEqual(check_sandbox(None), [])

    def test_setting_of_webhooks(self):
        settings = {"MAILTRAP_INBOUND_API_URL": "https://u:p@mailtrap.example/", "SANDBOX": URL}
        with override_settings(ANYMAIL=settings):
            [warning] = check_sandbox(None)
        self.assertEqual(warning.id, "anymail.W014")
        self.assertIn("MAILTRAP_INBOUND_API_URL calls https://mailtrap.example.", warning.msg)
        with override_settings(
            ANYMAIL={**settings, "MAILTRAP_INBOUND_API_URL": f"{URL}/mailtrap/api/"}
        ):
            self.assertEqual(check_sandbox(None), [])

    def test_unusable_mailers_are_for_another_check(self):
        for path in (PROVIDERS["postmark"].backend, "django.core.mail.backends.dummy.EmailBackend"):
            with self.subTest(path), use_backend(path, ANYMAIL={"SANDBOX": URL}):
                self.assertEqual(check_sandbox(None), [])


@override_settings(ROOT_URLCONF="anymail.sandbox.urls")
class CommandTests(SimpleTestCase):
    """``manage.py anymail_sandbox``."""

    def run_command(self, *arguments: str) -> tuple[str, Sandbox]:
        """Run it with a free port until it would wait for Ctrl-C."""
        output = io.StringIO()
        with patch.object(anymail_sandbox, "run_until_interrupted") as run:
            call_command("anymail_sandbox", "--port=0", *arguments, stdout=output)
        return output.getvalue(), run.call_args.args[0]

    def test_project_without_settings(self):
        output, sandbox = self.run_command()
        self.assertIn(f'"SANDBOX": "{sandbox.base_url}"', output)
        self.assertEqual(sandbox.webhook_url, "http://127.0.0.1:8000/anymail/")
        self.assertEqual(sandbox.webhook_secret, "")

    @override_settings(ROOT_URLCONF="tests.no_such_module_with_urls", ANYMAIL={"SANDBOX": URL})
    def test_no_urls(self):
        with patch.object(project, "reverse", side_effect=project.NoReverseMatch):
            output, sandbox = self.run_command()
        self.assertIsNone(sandbox.webhook_url)
        self.assertIn("There are no webhooks", output)
        self.assertNotIn('"SANDBOX"', output)

    def test_keys_of_the_project(self):
        settings = {
            "SANDBOX": URL,
            "WEBHOOK_SECRET": ["user:one", "user:two"],
            "MAILGUN_API_KEY": "own-api-key",  # which signs, without another key
            "MAILERSEND_SIGNING_SECRET": ["own-first", "own-second"],
            "MAILERSEND_INBOUND_SECRET": "own-inbound",
            "RESEND_SIGNING_SECRET": "whsec_b3duLXNlY3JldA==",
            "UNISENDER_GO_API_KEY": "own-key",
        }
        with override_settings(ANYMAIL=settings):
            output, sandbox = self.run_command("--site=http://localhost:9000/", "--fault=busy")
        providers: dict[str, Any] = sandbox.providers
        self.assertEqual(sandbox.webhook_url, "http://localhost:9000/anymail/")
        self.assertEqual(sandbox.webhook_secret, "user:one")
        self.assertEqual(providers["mailgun"].webhook_signing_key, "own-api-key")
        self.assertEqual(providers["mailersend"].signing_secret, "own-first")
        self.assertEqual(providers["mailersend"].inbound_secret, "own-inbound")
        self.assertEqual(providers["resend"].signing_secret, "whsec_b3duLXNlY3JldA==")
        self.assertEqual(providers["unisender_go"].api_key, "own-key")
        self.assertTrue(all(provider.takes_any_key for provider in providers.values()))
        self.assertIsNotNone(sandbox.faults.next("postmark"))
        self.assertNotIn("own-", output)

    def test_webhooks_are_accepted(self):
        """By the project's views, with whatever keys it has."""
        secret = "whsec_b3duLXNlY3JldA=="
        settings = {
            **{f"MAILERSEND_{name}_SECRET": "own-key" for name in ("SIGNING", "INBOUND")},
            **{f"MAILTRAP_{name}_SECRET": "own-key" for name in ("TRACKING", "INBOUND")},
            **{f"RESEND_{name}_SECRET": secret for name in ("SIGNING", "INBOUND")},
            **{f"{name}_API_KEY": "own-key" for name in ("UNISENDER_GO", "RESEND")},
            **{
                f"{name}_KEY": "own-key" for name in ("MAILGUN_WEBHOOK_SIGNING", "MANDRILL_WEBHOOK")
            },
            "WEBHOOK_SECRET": "user:own",
            "SANDBOX": URL,
            **own_settings(PROVIDERS[SES]),
        }
        client = Client(HTTP_HOST="127.0.0.1:8000")
        recipient = StoredRecipient("to", EmailAddress("", "bo@example.net"), "1", "", "", "", "")
        with override_settings(ANYMAIL=settings, ALLOWED_HOSTS=["*"]):
            _, sandbox = self.run_command()
            for name in sorted(PROVIDERS.keys() - {"postal"}):
                message = StoredMessage(name, recipient.mailbox, "", "", "", "", (recipient,))
                call = sandbox.tracking_webhook(message, "bounced")
                credentials = base64.b64encode(credentials_in(call.url).encode()).decode()
                headers = {**call.headers, "Authorization": f"Basic {credentials}"}
                content_type = headers.pop("Content-Type")
                with self.subTest(name):
                    path = urlsplit(call.url).path
                    answer = client.post(path, call.body, content_type, headers=headers)
                    self.assertEqual(answer.status_code, 200)

    def test_keys_that_nobody_else_can_sign_with(self):
        sendgrid: Any = load_provider("sendgrid", Store())
        settings = {
            "POSTAL_WEBHOOK_KEY": "own-public-key",
            "SENDGRID_INBOUND_WEBHOOK_VERIFICATION_KEY": sendgrid.verification_key,
            "AMAZON_SES_VERIFY_SNS_SIGNATURE": True,
            "WEBHOOK_SECRET": "a:b",
            "MAILERSEND_API_TOKEN": "own-token",
        }
        with override_settings(ANYMAIL=settings):
            output, sandbox = self.run_command()
        postal: Any = sandbox.provider("postal")
        self.assertIn("fit your POSTAL_WEBHOOK_KEY: calls of webhooks", output)
        self.assertIn(f"unless it is the sandbox's: {postal.webhook_key!r}", output)
        self.assertIn("fit your SENDGRID_INBOUND_WEBHOOK_VERIFICATION_KEY", output)
        self.assertIn("fit your AMAZON_SES_VERIFY_SNS_SIGNATURE", output)
        self.assertIn("MailerSend, tracking: You must set", output)
        self.assertNotIn("own-", output)

    def test_port_that_is_taken_and_other_mistakes(self):
        with Sandbox() as other, self.assertRaisesMessage(CommandError, "The sandbox can't start"):
            call_command("anymail_sandbox", port=int(other.base_url.rpartition(":")[2]))
        with self.assertRaisesMessage(CommandError, "have the same port"):
            self.run_command("--fault=unreachable")
        with self.assertRaisesMessage(CommandError, "must be on this computer"):
            self.run_command("--site=https://www.example.com")
        text = "SANDBOX must be the URL of a sandbox"
        elsewhere = override_settings(ANYMAIL={"SANDBOX": "https://www.example.com"})
        with elsewhere, self.assertRaisesMessage(CommandError, text):
            self.run_command()

    def test_port(self):
        self.assertEqual(anymail_sandbox._port(None, None), 8035)
        self.assertEqual(anymail_sandbox._port(None, "http://localhost:8036"), 8036)
        self.assertEqual(anymail_sandbox._port(1, "http://localhost:8036"), 1)

    def test_help_has_a_section(self):
        text = re.sub("\x1b.*?m", "", ManagementUtility(["manage.py", "help"]).main_help_text())
        section = text.partition("[anymail]\n")[2].partition("\n\n")[0].split()
        self.assertLessEqual({"anymail_sandbox", "anymail_send_test", "anymail_why"}, set(section))

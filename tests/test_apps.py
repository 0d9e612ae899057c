from __future__ import annotations

from django.apps import apps
from django.core import checks
from django.core.checks.registry import registry
from django.core.management import call_command
from django.test import SimpleTestCase, override_settings

from anymail.apps import AnymailBaseConfig
from anymail.checks import (
    check_deprecated_settings,
    check_insecure_settings,
    check_open_webhooks,
    check_repeated_calls,
)


class AppConfigTests(SimpleTestCase):
    def test_config(self):
        config = apps.get_app_config("anymail")
        self.assertIs(type(config), AnymailBaseConfig)
        self.assertEqual((config.name, config.label), ("anymail", "anymail"))
        self.assertEqual(config.verbose_name, "Anymail")

    def test_nothing_for_the_database(self):
        self.assertEqual(list(apps.get_app_config("anymail").get_models()), [])

    def test_checks_are_registered_without_tags(self):
        for check in [check_deprecated_settings, check_insecure_settings, check_repeated_calls]:
            with self.subTest(check=check.__name__):
                self.assertIn(check, registry.registered_checks)
                self.assertEqual(tuple(check.tags), ())

    def test_check_for_deployment(self):
        self.assertIn(check_open_webhooks, registry.deployment_checks)
        self.assertNotIn(check_open_webhooks, registry.registered_checks)
        self.assertEqual(tuple(check_open_webhooks.tags), (checks.Tags.security,))

    @override_settings(ANYMAIL={})
    def test_check_for_deployment_runs(self):
        def found(**kwargs):
            return "anymail.W004" in [message.id for message in checks.run_checks(**kwargs)]

        self.assertTrue(found(tags=["security"], include_deployment_checks=True))
        self.assertFalse(found())

    @override_settings(ANYMAIL={"WEBHOOK_AUTHORIZATION": "old"})
    def test_checks_run(self):
        self.assertIn("anymail.E001", [message.id for message in checks.run_checks()])

    def test_check_command_finds_nothing_in_good_settings(self):
        call_command("check", fail_level="DEBUG")

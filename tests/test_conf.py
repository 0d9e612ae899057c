from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.test import SimpleTestCase, override_settings

from anymail.conf import get_anymail_setting, setting_name
from anymail.exceptions import AnymailConfigurationError, AnymailError, AnymailInvalidMailer


class SettingNameTests(SimpleTestCase):
    def test_names(self):
        for args, expected in [
            (("api_key",), "API_KEY"),
            (("api_key", "Mailgun"), "MAILGUN_API_KEY"),
            (("api_key", "Amazon SES"), "AMAZON_SES_API_KEY"),
            (("api_key", "Unisender Go"), "UNISENDER_GO_API_KEY"),
        ]:
            with self.subTest(args=args):
                self.assertEqual(setting_name(*args), expected)


class GetAnymailSettingTests(SimpleTestCase):
    """The lookup order, and what happens if there is nothing to be found."""

    def test_kwargs_win_and_are_consumed(self):
        kwargs = {"color": "kwarg", "other": 1}
        with self.settings(ANYMAIL={"COLOR": "dict"}, ANYMAIL_COLOR="prefixed", COLOR="bare"):
            value = get_anymail_setting("color", "default", kwargs=kwargs, allow_bare=True)
        self.assertEqual(value, "kwarg")
        self.assertEqual(kwargs, {"other": 1})

    def test_kwargs_are_not_named_after_the_esp(self):
        kwargs = {"color": "kwarg", "my_esp_color": "not an option"}
        self.assertEqual(get_anymail_setting("color", esp_name="My ESP", kwargs=kwargs), "kwarg")
        self.assertEqual(kwargs, {"my_esp_color": "not an option"})

    def test_any_value_in_kwargs_counts(self):
        for value in [None, False, 0, ""]:
            with self.subTest(value=value), self.settings(ANYMAIL={"COLOR": "setting"}):
                self.assertIs(get_anymail_setting("color", kwargs={"color": value}), value)

    def test_username_and_password_none_are_not_given(self):
        for name in ["username", "password"]:
            with self.subTest(name=name):
                kwargs = {name: None}
                with self.settings(ANYMAIL={f"MY_ESP_{name.upper()}": "setting"}):
                    value = get_anymail_setting(name, esp_name="My ESP", kwargs=kwargs)
                self.assertEqual(value, "setting")
                self.assertEqual(kwargs, {})
                self.assertEqual(get_anymail_setting(name, kwargs={name: ""}), "")

    @override_settings(
        ANYMAIL={"MY_ESP_COLOR": "dict"}, ANYMAIL_MY_ESP_COLOR="prefixed", MY_ESP_COLOR="bare"
    )
    def test_dict_wins_over_prefixed_and_bare(self):
        self.assertEqual(get_anymail_setting("color", "x", "My ESP", {}, allow_bare=True), "dict")

    @override_settings(ANYMAIL={"OTHER": 1}, ANYMAIL_MY_ESP_COLOR="prefixed", MY_ESP_COLOR="bare")
    def test_prefixed_wins_over_bare(self):
        value = get_anymail_setting("color", "x", "My ESP", {}, allow_bare=True)
        self.assertEqual(value, "prefixed")

    @override_settings(ANYMAIL={}, MY_ESP_COLOR="bare")
    def test_bare_only_if_allowed(self):
        value = get_anymail_setting("color", "default", "My ESP", allow_bare=True)
        self.assertEqual(value, "bare")
        self.assertEqual(get_anymail_setting("color", "default", "My ESP"), "default")

    def test_falsy_settings_count(self):
        with self.settings(ANYMAIL={"COLOR": None}, ANYMAIL_COLOR="prefixed"):
            self.assertIsNone(get_anymail_setting("color", "default"))
        with self.settings(ANYMAIL_COLOR=""):
            self.assertEqual(get_anymail_setting("color", "default"), "")

    def test_default_can_be_none(self):
        self.assertIsNone(get_anymail_setting("color", None))
        self.assertIsNone(get_anymail_setting("color", default=None, esp_name="My ESP"))

    def test_settings_of_another_level_are_not_looked_up(self):
        with self.settings(ANYMAIL={"COLOR": "general"}):
            self.assertEqual(get_anymail_setting("color", "default", "My ESP"), "default")

    def test_missing_or_empty_anymail_setting_is_fine(self):
        self.assertEqual(get_anymail_setting("color", "default"), "default")
        with self.settings(ANYMAIL=None):
            self.assertEqual(get_anymail_setting("color", "default"), "default")


class MissingSettingTests(SimpleTestCase):
    def missing(self, *args: Any, **kwargs: Any) -> Exception:
        with self.assertRaises(AnymailConfigurationError) as caught:
            get_anymail_setting(*args, **kwargs)
        return caught.exception

    def test_names_all_that_would_help(self):
        for kwargs in [None, {}, {"other": 1}]:
            with self.subTest(kwargs=kwargs):
                error = self.missing("api_key", esp_name="My ESP", kwargs=kwargs)
                self.assertRegex(
                    str(error), r"^.*ANYMAIL.*'MY_ESP_API_KEY'.*ANYMAIL_MY_ESP_API_KEY"
                )

    def test_names_the_bare_setting_if_allowed(self):
        error = self.missing("api_key", esp_name="My ESP", allow_bare=True)
        self.assertRegex(
            str(error), r"'MY_ESP_API_KEY'.*\bANYMAIL_MY_ESP_API_KEY\b.*\bMY_ESP_API_KEY\b"
        )
        self.assertEqual(str(error).count("\n"), 1)  # the names on one line, the docs on another
        error = self.missing("api_key", esp_name="My ESP")
        self.assertNotRegex(str(error), r"ANYMAIL_MY_ESP_API_KEY.*\bMY_ESP_API_KEY\b")

    def test_is_a_configuration_error_and_no_anymail_error(self):
        error = self.missing("api_key")
        self.assertIsInstance(error, ImproperlyConfigured)
        self.assertNotIsInstance(error, AnymailError)
        self.assertNotIsInstance(error, AnymailInvalidMailer)

    def test_has_no_cause(self):
        error = self.missing("api_key")
        self.assertIsNone(error.__cause__)
        self.assertIsNone(error.__context__)

    def test_in_mailers(self):
        error = self.missing("api_key", esp_name="My ESP", kwargs={"alias": "marketing"})
        self.assertIsInstance(error, AnymailInvalidMailer)
        self.assertIn("OPTIONS must define 'api_key'", str(error))
        self.assertIsNone(error.__cause__)

    def test_in_mailers_falls_back_to_settings(self):
        kwargs = {"alias": "marketing"}
        with self.settings(ANYMAIL={"MY_ESP_API_KEY": "secret"}):
            value = get_anymail_setting("api_key", esp_name="My ESP", kwargs=kwargs)
        self.assertEqual(value, "secret")
        self.assertEqual(kwargs, {"alias": "marketing"})

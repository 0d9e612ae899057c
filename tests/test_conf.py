from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from django.conf import settings
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.test import SimpleTestCase, override_settings

from anymail.conf import (
    base_url,
    credential,
    credentials,
    declared_settings,
    get_anymail_setting,
    number,
    read_settings,
    setting,
    setting_name,
)
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

    def test_no_dict(self):
        for value in (({"COLOR": "red"},), ["COLOR"], "COLOR"):
            with self.subTest(value), self.settings(ANYMAIL=value):
                text = f"^ANYMAIL must be a dict, not a {type(value).__name__}\\."
                with self.assertRaisesRegex(AnymailConfigurationError, text):
                    get_anymail_setting("color", "default")
                with self.assertRaisesRegex(AnymailConfigurationError, text):
                    run_checks()

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


class Account:
    """What a backend or view looks like to read_settings."""

    esp_name = "My ESP"

    api_key: str = setting("A key.", kind=credential, required=True, bare=True)
    region: str = setting("The region.", default="eu")
    api_url: str = setting(
        "Base URL.", kind=base_url, default_of=lambda account: f"https://{account.region}.example"
    )
    timeout: float | None = setting(
        "Seconds.",
        name="requests_timeout",
        general=True,
        default=30,
        kind=number(minimum=1),
        options=("timeout", "requests_timeout"),
    )
    keys: list[str] | None = setting("Keys.", kind=credentials, default=None)
    later: str | None = setting("Whatever.", required="later", default=None)
    _hidden: int = setting("No option.", name="hidden", default=0, options=())

    def __init__(self, **kwargs: Any) -> None:
        read_settings(self, kwargs)
        self.unknown = kwargs


class DeclaredSettingsTests(SimpleTestCase):
    def read(self, account: type[Account] = Account, /, **options: Any) -> Account:
        return account(**{"api_key": "key", **options})

    def test_defaults(self):
        account = self.read()
        self.assertEqual(
            vars(account),
            {
                "api_key": "key",
                "region": "eu",
                "api_url": "https://eu.example/",
                "timeout": 30,
                "keys": None,
                "later": None,
                "unknown": {},
            },
        )

    def test_class_attributes_are_defaults(self):
        """For as_view(), which wants class attributes."""
        self.assertEqual((Account.region, Account.api_key, Account.api_url), ("eu", None, None))

    @override_settings(
        ANYMAIL={"MY_ESP_REGION": "dict", "REQUESTS_TIMEOUT": 1, "MY_ESP_HIDDEN": 2},
        ANYMAIL_MY_ESP_REGION="prefixed",
        ANYMAIL_MY_ESP_KEYS=["a", "", "b"],
        MY_ESP_API_KEY="bare",
        MY_ESP_LATER="not bare",
    )
    def test_settings(self):
        account = Account()
        self.assertEqual((account.region, account.api_key, account.later), ("dict", "bare", None))
        self.assertEqual((account.timeout, account.keys, account._hidden), (1, ["a", "b"], 2))

    @override_settings(ANYMAIL={"MY_ESP_REGION": "dict", "REQUESTS_TIMEOUT": 1})
    def test_options(self):
        account = self.read(region="option", requests_timeout=3, timeout=2, hidden=1, other=4)
        self.assertEqual((account.region, account.timeout), ("option", 2))
        self.assertEqual(account.api_url, "https://option.example/")
        self.assertEqual(account.unknown, {"hidden": 1, "other": 4})
        self.assertIsNone(self.read(timeout=None).timeout)
        self.assertIsNone(self.read(region=None).region)

    @override_settings(ANYMAIL={"MY_ESP_REGION": "setting", "MY_ESP_API_URL": "https://setting/"})
    def test_subclasses(self):
        class Plain(Account):
            region = "plain"
            api_url = "https://plain"
            keys = None  # says nothing

        class Tenant(Account):
            @property
            def region(self) -> str:  # type: ignore[override]
                return "tenant"

        class Redeclared(Plain):
            region: str = setting("Again.", name="zone", default="zone")

        class Early(Account):
            def __init__(self, **kwargs: Any) -> None:
                self.region = "early"
                super().__init__(**kwargs)

        self.assertEqual(self.read(Plain).region, "plain")
        self.assertEqual(self.read(Plain).api_url, "https://plain/")
        self.assertEqual(self.read(Plain, region="option").region, "option")
        self.assertEqual(self.read(Tenant).region, "tenant")
        self.assertEqual(self.read(Redeclared).region, "zone")
        self.assertEqual(self.read(Early).region, "early")
        self.assertEqual(self.read(Early, region="option").region, "option")
        self.assertEqual(declared_settings(Redeclared)["region"].help, "Again.")

    def test_settings_that_come_and_go(self):
        """They are looked for each time."""
        for value in range(2):
            self.assertEqual(self.read().region, "eu")
            with override_settings(ANYMAIL_MY_ESP_REGION=value), override_settings(DEBUG=True):
                self.assertEqual(self.read().region, value)
                with override_settings():
                    del settings.ANYMAIL_MY_ESP_REGION
                    self.assertEqual(self.read().region, "eu")
            with override_settings(ANYMAIL={}):
                settings.ANYMAIL["MY_ESP_REGION"] = "added"
                self.assertEqual(self.read().region, "added")
            with patch.object(Account, "region", "patched"):
                self.assertEqual(self.read().region, "patched")

    def test_settings_of_another_kind(self):
        """Packages can put something else in the place of Django's settings."""
        others = SimpleNamespace(ANYMAIL_MY_ESP_REGION="other")
        with patch("anymail.conf.settings", others):
            self.assertEqual(self.read().region, "other")

    def test_without_a_name(self):
        """Views of other packages need none, if all of their settings are general."""

        class General:
            first: int = setting("A number.", general=True, default=1)

        class Particular(General):
            second: int = setting("A number.", default=2)

        general = General()
        read_settings(general, {})
        self.assertEqual(general.first, 1)
        with self.assertRaisesMessage(AttributeError, "esp_name"):
            read_settings(Particular(), {})

    def test_invalid_default(self):
        class Odd(Account):
            number: int = setting("A number.", kind=number(minimum=2), default=1)

        with self.assertRaisesMessage(AnymailConfigurationError, "MY_ESP_NUMBER must be a number"):
            self.read(Odd)

    @override_settings(ANYMAIL={"MY_ESP_REGION": "setting"})
    def test_without_reading(self):
        account = Account.__new__(Account)
        self.assertEqual((account.region, account.timeout), ("setting", 30))
        with override_settings(ANYMAIL={}):
            self.assertEqual(account.region, "setting")  # once

    def test_missing(self):
        for value in ({}, {"api_key": ""}, {"api_key": None}, {"api_key": []}):
            with (
                self.subTest(value),
                self.assertRaisesRegex(
                    AnymailConfigurationError,
                    r"'MY_ESP_API_KEY'.*\bANYMAIL_MY_ESP_API_KEY or MY_ESP_API_KEY\b",
                ),
                override_settings(ANYMAIL={"MY_ESP_API_KEY": "another account's"} if value else {}),
            ):
                Account(**value)
        with self.assertRaisesRegex(AnymailInvalidMailer, r"OPTIONS must define 'api_key'"):
            Account(alias="other")

    def test_invalid(self):
        for option, value, problem in (
            ("api_key", "sécret\n", "MY_ESP_API_KEY has white space at its beginning or end"),
            ("keys", ["a", "sécret "], "MY_ESP_KEYS has white space at its beginning or end"),
            ("api_url", 5, "MY_ESP_API_URL must be a URL, not 5"),
            ("timeout", 0, "REQUESTS_TIMEOUT must be a number of at least 1, not 0"),
            ("timeout", "5", "REQUESTS_TIMEOUT must be a number of at least 1, not '5'"),
            ("timeout", True, "REQUESTS_TIMEOUT must be a number of at least 1, not True"),
        ):
            with self.subTest(option, value=value):
                with self.assertRaisesMessage(AnymailConfigurationError, problem) as caught:
                    self.read(**{option: value})
                self.assertNotIn("sécret", str(caught.exception))
                self.assertIsNone(caught.exception.__cause__)
                with self.assertRaisesMessage(AnymailInvalidMailer, problem):
                    self.read(**{option: value, "alias": "other"})

    def test_where_the_docs_are(self):
        for option, docs in (
            ({"timeout": 0}, "settings.html#setting-REQUESTS_TIMEOUT"),
            ({"api_url": 5}, "installation.html#setting-styles"),  # another package's
        ):
            with self.assertRaisesRegex(AnymailConfigurationError, rf"\nDocs: {docs}\Z"):
                self.read(**option)

"""What in a message is for particular mailers: esp_extra, ids of templates."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.test import SimpleTestCase

from anymail.backends.brevo import EmailBackend as BrevoBackend
from anymail.delivery.mailers import mailers
from anymail.exceptions import AnymailUnsupportedFeature, Problem
from anymail.providers import PROVIDERS

from ..utils import make_message
from .leaf import CALLS, LEAF, StrategyTestCase, mailer_settings
from .test_strategies import failover


class ParticularTestCase(SimpleTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.use_settings()

    def use_settings(self, options: dict[str, Any] | None = None, **settings: Any) -> None:
        postmark = {"BACKEND": PROVIDERS["postmark"].backend, "OPTIONS": options or {}}
        keys = {"POSTMARK_SERVER_TOKEN": "x", "BREVO_API_KEY": "x"}
        override = mailer_settings(
            {
                "default": postmark,
                "pm": postmark,
                "derived": {"BACKEND": f"{__name__}.DerivedBackend"},
                "brevo": {"BACKEND": PROVIDERS["brevo"].backend},
            },
            **keys,
            **settings,
        )
        override.enable()
        self.addCleanup(override.disable)

    def data(self, mailer: str = "pm", **attrs: Any) -> Any:
        """Return what a message becomes."""
        backend: Any = mailers[mailer]
        return backend.build_message_payload(make_message(**attrs), backend.send_defaults).data


class DerivedBackend(BrevoBackend):
    """As projects have them."""


class EspExtraTests(ParticularTestCase):
    def test_for_each_provider(self):
        extra = {"postmark": {"MessageStream": "news"}, "brevo": {"batchId": "b-1"}}
        postmark, brevo = (self.data(mailer, esp_extra=extra) for mailer in ("pm", "brevo"))
        self.assertEqual(postmark["MessageStream"], "news")
        self.assertEqual(brevo["batchId"], "b-1")
        for data in (postmark, brevo):
            self.assertTrue(data.keys().isdisjoint({"postmark", "brevo"}), data)

    def test_for_no_others(self):
        extra = {"sendgrid": {"asm": {}}, "mailgun": None}
        self.assertEqual(self.data(esp_extra=extra), self.data())
        self.assertEqual(self.data(esp_extra={}), self.data())

    def test_for_a_mailer(self):
        """In addition to its provider's."""
        extra = {"pm": {"A": {"x": 1}}, "postmark": {"A": {"x": 2, "y": 2}, "B": 2}}
        self.assertEqual(self.data(esp_extra=extra)["A"], {"x": 1, "y": 2})
        self.assertEqual(self.data("default", esp_extra=extra)["A"], {"x": 2, "y": 2})
        self.assertEqual(extra["postmark"]["A"], {"x": 2, "y": 2}, "unchanged")

    def test_all_keys_are_names_or_it_is_for_everybody(self):
        extra = {"postmark": {"A": 1}, "B": 2}
        data = self.data(esp_extra=extra)
        self.assertEqual((data["postmark"], data["B"]), ({"A": 1}, 2))

    def test_chosen_before_it_is_combined_with_defaults(self):
        one, all_ = {"A": 1}, {"B": 2}
        for default, extra in [
            ({"postmark": one}, all_),
            (one, {"pm": all_}),
            ({"postmark": one}, {"postmark": all_, "brevo": {"C": 3}}),
        ]:
            with self.subTest(default=default, extra=extra):
                self.use_settings(SEND_DEFAULTS={"esp_extra": default})
                data = self.data(esp_extra=extra)
                self.assertEqual((data.get("A"), data.get("B")), (1, 2))
                self.assertNotIn("C", data)
                self.assertEqual(self.data(esp_extra=None).get("A"), None)

    def test_derived_backend_and_former_name(self):
        for name in ("brevo", "sendinblue"):
            data = self.data("derived", esp_extra={name: {"batchId": "b-1"}, "postmark": {}})
            self.assertEqual(data["batchId"], "b-1")

    def test_wrong_types(self):
        for extra in ({"postmark": ["A"]}, {"pm": "A"}):
            with self.subTest(extra), self.assertRaisesRegex(TypeError, "esp_extra.*(pm|postmark)"):
                self.data(esp_extra=extra)


class TemplateIdsTests(ParticularTestCase):
    def test_names(self):
        self.use_settings({"template_ids": {"welcome": 123, 7: "seven"}})
        self.assertEqual(self.data(template_id="welcome")["TemplateId"], 123)
        for template_id in (7, "7"):
            self.assertEqual(self.data(template_id=template_id)["TemplateAlias"], "seven")

    def test_in_settings(self):
        self.use_settings(
            POSTMARK_TEMPLATE_IDS={"welcome": 123}, SEND_DEFAULTS={"template_id": "welcome"}
        )
        self.assertEqual(self.data()["TemplateId"], 123)

    def test_unknown(self):
        """The message is not sent without, even if unsupported features are ignored."""
        self.use_settings({"template_ids": {"welcome": 1}, "ignore_unsupported_features": True})
        for template_id in ("other", 1, "1"):
            with (
                self.subTest(template_id),
                self.assertRaisesMessage(AnymailUnsupportedFeature, "template_ids"),
            ):
                self.data(template_id=template_id)
        self.assertNotIn("TemplateId", self.data())

    def test_none(self):
        for ids in (None, {}):
            self.use_settings({"template_ids": ids})
            self.assertEqual(self.data(template_id="1")["TemplateId"], 1)

    def test_wrong_type(self):
        self.use_settings({"template_ids": ["welcome"]})
        with self.assertRaisesMessage(ImproperlyConfigured, "POSTMARK_TEMPLATE_IDS"):
            self.data()


class StrategyTests(StrategyTestCase):
    def test_template_that_a_mailer_does_not_have(self):
        self.use_mailers(
            default=failover("a", "b"),
            a={**LEAF, "OPTIONS": {"template_ids": {"welcome": 1}}},
            b={**LEAF, "OPTIONS": {"template_ids": {"welcome": 2, "goodbye": 3}}},
        )
        message = make_message(template_id="goodbye")
        with self.logged("WARNING"):
            mailers["default"].send_messages([message])
        self.assertEqual(message.anymail_status.attempts, [("a", Problem.UNSUITABLE), ("b", None)])
        self.assertEqual(self.called, ["b"])
        self.assertEqual(CALLS[0][1].anymail_test_params["template_id"], 3)

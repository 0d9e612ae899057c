from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from email.mime.text import MIMEText
from typing import Any

import requests
from django.test import override_settings, tag
from django.utils.translation import gettext_lazy

from anymail.exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailError,
    AnymailInvalidAddress,
    AnymailInvalidHeader,
    AnymailInvalidMailer,
    AnymailRequestsAPIError,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
)
from tests.utils import ApiTestCase, make_message, make_response

MESSAGE_ID = "<20310203040506.1.ABCDEF@example.com>"


@tag("mailgun")
class MailgunTestCase(ApiTestCase):
    backend = "anymail.backends.mailgun.EmailBackend"
    settings = {"MAILGUN_API_KEY": "test-key"}
    api_response = {"id": MESSAGE_ID, "message": "Queued. Thank you."}

    @property
    def recipient_variables(self) -> Any:
        text = self.api_data["recipient-variables"]
        self.assertIsInstance(text, str)
        return json.loads(text)

    @property
    def prepared(self) -> requests.PreparedRequest:
        """The last call as it goes over the wire."""
        params = self.api_call
        del params["timeout"]
        return requests.Request(**params).prepare()

    def assert_unsupported(self, message: Any, feature: str) -> None:
        with self.assertRaises(AnymailUnsupportedFeature) as raised:
            self.send(message)
        self.assertEqual(str(raised.exception), f"Mailgun does not support {feature}")
        self.assert_api_not_called()


class SettingsTests(MailgunTestCase):
    def test_request(self):
        self.send(make_message())
        self.assert_api_called("https://api.mailgun.net/v3/example.com/messages")
        self.assertEqual(self.api_call["auth"], ("api", "test-key"))
        self.assertEqual(self.api_call["headers"], {})
        self.assertIsNone(self.api_call["params"])
        self.assertEqual(self.api_call["files"], [])
        self.assertEqual(self.api_call["timeout"], 30)

    @override_settings(ANYMAIL={})
    def test_missing_api_key(self):
        pattern = r"(?s)MAILGUN_API_KEY.*ANYMAIL_MAILGUN_API_KEY"
        with self.assertRaisesRegex(AnymailConfigurationError, pattern):
            self.make_backend()
        with self.assertRaisesRegex(AnymailInvalidMailer, "'api_key'"):
            self.make_backend(alias="other")

    @override_settings(
        ANYMAIL={}, MAILGUN_API_KEY="bare-key", MAILGUN_SENDER_DOMAIN="bare.example.com"
    )
    def test_bare_settings(self):
        self.send(make_message())
        self.assert_api_called("https://api.mailgun.net/v3/bare.example.com/messages")
        self.assertEqual(self.api_call["auth"], ("api", "bare-key"))

    @override_settings(MAILGUN_API_URL="https://bare.example.com")
    def test_api_url_cannot_be_bare(self):
        self.assertEqual(self.make_backend().api_url, "https://api.mailgun.net/v3/")

    def test_options(self):
        self.send(
            make_message(),
            api_key="other-key",
            sender_domain="other.example.com",
            api_url="https://api.eu.mailgun.net/v3",
        )
        self.assert_api_called("https://api.eu.mailgun.net/v3/other.example.com/messages")
        self.assertEqual(self.api_call["auth"], ("api", "other-key"))

    def test_api_url_with_slash(self):
        self.send(make_message(), api_url="https://api.eu.mailgun.net/v3/")
        self.assert_api_called("https://api.eu.mailgun.net/v3/example.com/messages")

    @override_settings(
        ANYMAIL={
            "MAILGUN_API_KEY": "test-key",
            "MAILGUN_SEND_DEFAULTS": {"tags": ["default"], "esp_extra": {"o:dkim": "yes"}},
        }
    )
    def test_send_defaults(self):
        self.send(make_message(tags=["mine"], esp_extra={"o:testmode": "yes"}))
        self.assertEqual(self.api_data["o:tag"], ["default", "mine"])
        self.assertEqual(self.api_data["o:dkim"], "yes")
        self.assertEqual(self.api_data["o:testmode"], "yes")


class SenderDomainTests(MailgunTestCase):
    def assert_domain(self, domain: str) -> None:
        self.assert_api_called(f"https://api.mailgun.net/v3/{domain}/messages")

    def test_from_email(self):
        self.send(make_message(from_email="Me <me@one.example.com>, other@two.example.com"))
        self.assert_domain("one.example.com")

    def test_setting_wins_over_from_email(self):
        self.send(make_message(), sender_domain="mg.example.com")
        self.assert_domain("mg.example.com")

    def test_empty_setting_is_unset(self):
        self.send(make_message(), sender_domain="")
        self.assert_domain("example.com")

    def test_from_header(self):
        # from_email is the envelope sender then.
        message = make_message(
            from_email="bounces@bounces.example.com", headers={"From": "Me <me@example.com>"}
        )
        self.send(message, sender_domain="mg.example.com")
        self.assert_domain("bounces.example.com")
        self.assertEqual(self.api_data["from"], ["Me <me@example.com>"])

    def test_only_from_header(self):
        message = make_message(headers={"From": "Me <me@header.example.com>"})
        message.from_email = None
        self.send(message)
        self.assert_domain("header.example.com")
        self.assertEqual(self.api_data["from"], ["Me <me@header.example.com>"])

    def test_empty_from_header(self):
        self.send(make_message(headers={"From": None}))
        self.assert_domain("example.com")
        self.assertEqual(self.api_data["from"], ["from@example.com"])

    def test_esp_extra(self):
        message = make_message(
            envelope_sender="ignored@envelope.example.com",
            esp_extra={"sender_domain": "extra.example.com"},
        )
        self.send(message, sender_domain="mg.example.com")
        self.assert_domain("extra.example.com")
        self.assertNotIn("sender_domain", self.api_data)
        # It's still there for the next time.
        self.send(message)
        self.assert_domain("extra.example.com")

    def test_empty_esp_extra_is_unset(self):
        for empty in ("", None):
            message = make_message(esp_extra={"sender_domain": empty})
            self.send(message, sender_domain="mg.example.com")
            self.assert_domain("mg.example.com")
            self.assertNotIn("sender_domain", self.api_data)

    def test_missing(self):
        message = make_message()
        message.from_email = None
        with self.assertRaises(AnymailError) as raised:
            self.send(message)
        for text in ("from_email", "esp_extra", "sender_domain"):
            self.assertIn(text, str(raised.exception))
        self.assertIs(raised.exception.email_message, message)
        self.assertIsNotNone(raised.exception.payload)
        self.assertEqual(raised.exception.esp_name, "Mailgun")
        self.assert_api_not_called()

    def test_without_from_email(self):
        # A stored template can have a From address of its own.
        message = make_message(template_id="template")
        message.from_email = None
        self.send(message, sender_domain="mg.example.com")
        self.assert_domain("mg.example.com")
        self.assertNotIn("from", self.api_data)

    def test_slash(self):
        for domain in ("example.com/x", "example.com%2fx", "example.com%2Fx", "/"):
            message = make_message(esp_extra={"sender_domain": domain})
            with self.subTest(domain), self.assertRaises(AnymailError) as raised:
                self.send(message)
            self.assertIn(f"Invalid '/' in sender domain '{domain}'", str(raised.exception))
            self.assertIs(raised.exception.email_message, message)
            self.assertIsNotNone(raised.exception.payload)
        self.assert_api_not_called()

    def test_slash_in_from_email(self):
        with self.assertRaisesRegex(AnymailError, "Invalid '/' in sender domain 'example.com/x'"):
            self.send(make_message(from_email="<me@example.com/x>"))
        self.assert_api_not_called()

    def test_odd_domain_is_quoted(self):
        self.send(make_message(), sender_domain="example.com #1?")
        self.assert_domain("example.com%20%231%3F")

    def test_international_domain(self):
        encoded = "xn--bcher-kva.example"
        self.send(make_message(from_email="me@bücher.example"))
        self.assert_domain(encoded)
        self.send(make_message(envelope_sender="me@bücher.example"))
        self.assert_domain(encoded)
        self.send(make_message(esp_extra={"sender_domain": "bücher.example"}))
        self.assert_domain(encoded)
        self.send(make_message(), sender_domain="bücher.example")
        self.assert_domain(encoded)

    def test_idna_encoder_setting(self):
        self.send(make_message(from_email="me@straße.example"), idna_encoder="idna2003")
        self.assert_domain("strasse.example")
        self.send(make_message(from_email="me@straße.example"), idna_encoder="none")
        self.assert_domain("stra%C3%9Fe.example")

    def test_idna_encoder_that_makes_a_slash(self):
        message = make_message(from_email="me@bücher.example")
        self.send(message, idna_encoder=lambda domain: "a/b")
        self.assert_domain("a%2Fb")

    def test_invalid_international_domain(self):
        with self.assertRaisesRegex(AnymailInvalidAddress, "☃.example"):
            self.send(make_message(esp_extra={"sender_domain": "☃.example"}))
        self.assert_api_not_called()


class MessageTests(MailgunTestCase):
    def test_addresses(self):
        self.send(
            make_message(
                from_email='"From, Inc." <from@example.com>, Zwei Te <zwei@bücher.example>',
                to=['"Lee, Ann" <ann@example.com>', "Zoë <zoe@bücher.example>"],
                cc=["Ann Lee <cc@example.com>", "cc2@example.com"],
                bcc=["bcc@bücher.example"],
                reply_to=['"Reply, all" <reply@bücher.example>', "reply2@example.com"],
            )
        )
        self.assertEqual(
            self.api_data,
            {
                "from": [
                    '"From, Inc." <from@example.com>',
                    "Zwei Te <zwei@xn--bcher-kva.example>",
                ],
                "to": ['"Lee, Ann" <ann@example.com>', "Zoë <zoe@xn--bcher-kva.example>"],
                "cc": ["Ann Lee <cc@example.com>", "cc2@example.com"],
                "bcc": ["bcc@xn--bcher-kva.example"],
                "h:Reply-To": ('"Reply, all" <reply@xn--bcher-kva.example>, reply2@example.com'),
                "subject": "Subject",
                "text": "Text body",
            },
        )

    def test_unicode_local_parts_of_recipients(self):
        address = "zoë@example.com"
        self.send(make_message(to=[address], cc=[address], bcc=[address], reply_to=[address]))
        for field in ("to", "cc", "bcc"):
            self.assertEqual(self.api_data[field], [address])
        self.assertEqual(self.api_data["h:Reply-To"], address)

    def test_unicode_local_part_of_sender(self):
        feature = "EAI in from_email"
        for from_email in ("zoë@example.com", "from@example.com, zoë@example.com"):
            message = make_message(from_email=from_email)
            self.assert_unsupported(message, feature)
        self.assert_unsupported(make_message(headers={"From": "zoë@example.com"}), feature)
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.api_data["from"], ["from@example.com", "zoë@example.com"])

    def test_subject(self):
        self.send(make_message(subject="Größe"))
        self.assertEqual(self.api_data["subject"], "Größe")
        message = make_message()
        message.subject = None
        self.send(message)
        self.assertNotIn("subject", self.api_data)

    def test_headers(self):
        self.send(
            make_message(
                headers={
                    "x-my-header": "Größe",
                    "X-Number": 123,
                    "Message-ID": "<mine@example.com>",
                    "X-SMTPAPI": "{}",
                    "REPLY-TO": "header@example.com",
                },
                reply_to=["attribute@example.com"],
            )
        )
        self.assertEqual(
            {name: value for name, value in self.api_data.items() if name.startswith("h:")},
            {
                "h:X-My-Header": "Größe",
                "h:X-Number": 123,
                "h:Message-Id": "<mine@example.com>",
                "h:X-Smtpapi": "{}",
                "h:Reply-To": "header@example.com",
            },
        )

    def test_line_breaks_are_refused(self):
        for message in (
            make_message(subject="a\nBcc: b@example.com"),
            make_message(headers={"X-A": "a\r\nBcc: b@example.com"}),
            make_message(headers={"X-A\r\nBcc": "b@example.com"}),
            make_message(merge_headers={"to@example.com": {"X-A": "a\nb"}}),
            make_message(esp_extra={"h:X-A": "a\nb"}),
            make_message(esp_extra={"subject": "a\nb"}),
        ):
            with self.assertRaises(AnymailInvalidHeader):
                self.send(message)
        self.assert_api_not_called()

    def test_line_breaks_elsewhere(self):
        self.send(make_message(body="a\r\nb", esp_extra={"v:text": "a\nb"}))
        self.assertEqual(self.api_data["text"], "a\r\nb")
        self.assertEqual(self.api_data["v:text"], "a\nb")

    def test_spoofed_to_header(self):
        message = make_message(headers={"To": "other@example.com"})
        self.assert_unsupported(message, "spoofing `To` header")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.api_data["to"], ["to@example.com"])
        self.assertNotIn("h:To", self.api_data)

    def test_html_message(self):
        message = make_message(body="<p>HTML</p>")
        message.content_subtype = "html"
        self.send(message)
        self.assertEqual(self.api_data["html"], "<p>HTML</p>")
        self.assertNotIn("text", self.api_data)

    def test_amp_alternative(self):
        message = make_message()
        message.attach_alternative("<html amp4email>", "TEXT/x-amp-html")
        message.attach_alternative("<p>HTML</p>", "text/html")
        self.send(message)
        self.assertEqual(self.api_data["amp-html"], "<html amp4email>")
        self.assertEqual(self.api_data["html"], "<p>HTML</p>")

    def test_multiple_html_alternatives(self):
        message = make_message()
        message.attach_alternative("<p>1</p>", "text/html")
        message.attach_alternative("<p>2</p>", "text/html")
        self.assert_unsupported(message, "multiple html parts")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.api_data["html"], "<p>1</p>")

    def test_empty_html_body_and_html_alternative(self):
        message = make_message(body="")
        message.content_subtype = "html"
        message.attach_alternative("<p>HTML</p>", "text/html")
        self.assert_unsupported(message, "multiple html parts")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.api_data["html"], "<p>HTML</p>")

    def test_multiple_amp_alternatives(self):
        message = make_message()
        message.attach_alternative("<html amp4email>1", "text/x-amp-html")
        message.attach_alternative("<html amp4email>2", "text/x-amp-html")
        self.assert_unsupported(message, "multiple html parts")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.api_data["amp-html"], "<html amp4email>2")

    def test_multiple_text_parts(self):
        message = make_message()
        message.attach_alternative("Other", "text/plain")
        self.assert_unsupported(message, "multiple plaintext parts")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.api_data["text"], "Text body")

    def test_wire_format_without_files(self):
        self.send(
            make_message(subject="Größe", to=["a@example.com", "b@example.com"], tags=["x", "y"])
        )
        prepared = self.prepared
        self.assertEqual(prepared.headers["Content-Type"], "application/x-www-form-urlencoded")
        self.assertEqual(prepared.headers["Authorization"], "Basic YXBpOnRlc3Qta2V5")
        self.assertEqual(
            prepared.body,
            "from=from%40example.com&to=a%40example.com&to=b%40example.com&subject=Gr%C3%B6%C3%9Fe"
            "&text=Text+body&o%3Atag=x&o%3Atag=y",
        )


class AttachmentTests(MailgunTestCase):
    def test_attachment_without_a_name(self):
        for name in (None, ""):
            message = make_message()
            message.attach(name, b"content", "application/pdf")
            self.send(message)
            self.assertEqual(
                self.api_call["files"],
                [("attachment", ("attachment", b"content", "application/pdf"))],
            )

    def test_inline_without_content_id(self):
        message = make_message()
        mime = MIMEText("inline")
        mime["Content-Disposition"] = 'inline; filename="x.txt"'
        message.attachments.append(mime)
        self.assert_unsupported(message, "inline attachments without Content-ID")
        self.send(message, ignore_unsupported_features=True)
        [(field, (name, content, _))] = self.api_call["files"]
        self.assertEqual((field, name, content), ("inline", "", b"inline"))

    def test_wire_format(self):
        message = make_message(metadata={"größe": "ü"})
        message.attach('Größe "L".txt', "größe", "text/plain")
        self.send(message)
        prepared = self.prepared
        content_type = prepared.headers["Content-Type"]
        self.assertRegex(content_type, "^multipart/form-data; boundary=")
        assert isinstance(prepared.body, bytes)
        body = prepared.body.decode()
        self.assertIn(
            'Content-Disposition: form-data; name="attachment"; filename="Größe %22L%22.txt"\r\n'
            'Content-Type: text/plain; charset="utf-8"\r\n\r\ngröße\r\n',
            body,
        )
        self.assertIn('Content-Disposition: form-data; name="to"\r\n\r\nto@example.com\r\n', body)
        self.assertIn('name="v:größe"\r\n\r\nü\r\n', body)
        self.assertNotIn("filename*", body)


class AnymailFeaturesTests(MailgunTestCase):
    def test_send_at(self):
        utc_plus_2 = timezone(timedelta(hours=2))
        with self.settings_timezone("America/Los_Angeles"):
            for send_at, expected in (
                (
                    datetime(2031, 5, 6, 9, 8, 9, 999999, tzinfo=utc_plus_2),
                    "Tue, 06 May 2031 07:08:09 GMT",
                ),
                (datetime(2031, 5, 6, 0, 8, 9), "Tue, 06 May 2031 07:08:09 GMT"),  # noqa: DTZ001
                (date(2031, 5, 6), "Tue, 06 May 2031 07:00:00 GMT"),
                (1935990489, "Thu, 08 May 2031 07:08:09 GMT"),
                ("in a while", "in a while"),
            ):
                with self.subTest(send_at):
                    self.send(make_message(send_at=send_at))
                    self.assertEqual(self.api_data["o:deliverytime"], expected)

    def settings_timezone(self, name: str) -> override_settings:
        return override_settings(TIME_ZONE=name)

    def test_tracking(self):
        self.send(make_message(track_clicks=True, track_opens=False))
        self.assertEqual(self.api_data["o:tracking-clicks"], "yes")
        self.assertEqual(self.api_data["o:tracking-opens"], "no")
        self.send(make_message(track_clicks=False, track_opens=True))
        self.assertEqual(self.api_data["o:tracking-clicks"], "no")
        self.assertEqual(self.api_data["o:tracking-opens"], "yes")

    def test_no_options_unless_asked_for(self):
        self.send(make_message())
        self.assertFalse([field for field in self.api_data if field[:2] in ("o:", "v:", "h:")])

    def test_esp_extra(self):
        self.send(
            make_message(
                tags=["replaced"],
                metadata={"a": "metadata wins"},
                headers={"X-A": "replaced"},
                esp_extra={
                    "o:testmode": "yes",
                    "o:tag": ["extra"],
                    "h:X-A": "extra",
                    "v:a": "replaced",
                    "t:version": "2",
                },
            )
        )
        self.assertEqual(self.api_data["o:testmode"], "yes")
        self.assertEqual(self.api_data["o:tag"], ["extra"])
        self.assertEqual(self.api_data["h:X-A"], "extra")
        self.assertEqual(self.api_data["v:a"], "metadata wins")
        self.assertEqual(self.api_data["t:version"], "2")

    def test_recipient_variables_in_esp_extra(self):
        variables = '{"to@example.com": {"a": 1}}'
        message = make_message(esp_extra={"recipient-variables": variables})
        self.send(message)
        self.assertEqual(self.api_data["recipient-variables"], variables)
        message.merge_data = {}
        self.send(message)
        self.assertEqual(self.recipient_variables, {})


class BatchTests(MailgunTestCase):
    def message(self, **kwargs: Any) -> Any:
        return make_message(to=["ann@example.com", "Ben <ben@example.com>"], **kwargs)

    def test_everything(self):
        self.send(
            self.message(
                template_id="inv",
                merge_data={"ann@example.com": {"plan": "Pro"}},
                merge_global_data={"plan": "Free", "year": 2031},
                metadata={"job": "j7"},
                merge_metadata={"ben@example.com": {"inv": 44}},
                headers={"X-Ref": "none", "X-Fixed": "fixed"},
                merge_headers={"ann@example.com": {"X-Ref": "r1"}},
            )
        )
        self.assertEqual(
            {**self.api_data, "recipient-variables": self.recipient_variables},
            {
                "from": ["from@example.com"],
                "to": ["ann@example.com", "Ben <ben@example.com>"],
                "subject": "Subject",
                "text": "Text body",
                "template": "inv",
                "v:job": "j7",
                "v:inv": "%recipient.v:inv%",
                "v:plan": "%recipient.plan%",
                "v:year": "%recipient.year%",
                "h:X-Ref": "%recipient.h:X-Ref%",
                "h:X-Fixed": "fixed",
                "recipient-variables": {
                    "ann@example.com": {"v:inv": "", "plan": "Pro", "year": 2031, "h:X-Ref": "r1"},
                    "ben@example.com": {
                        "v:inv": 44,
                        "plan": "Free",
                        "year": 2031,
                        "h:X-Ref": "none",
                    },
                },
            },
        )
        self.assert_api_called("https://api.mailgun.net/v3/example.com/messages")

    def test_merge_data(self):
        self.send(
            self.message(
                merge_data={
                    "ann@example.com": {"name": "Ann", "n": 1},
                    "ben@example.com": {"name": "Ben", "list": [1, {"a": None}]},
                }
            )
        )
        self.assertEqual(
            self.recipient_variables,
            {
                "ann@example.com": {"name": "Ann", "n": 1, "list": ""},
                "ben@example.com": {"name": "Ben", "n": "", "list": [1, {"a": None}]},
            },
        )
        # Without a template, the text refers to recipient variables directly.
        self.assertFalse([field for field in self.api_data if field.startswith("v:")])

    def test_merge_global_data(self):
        self.send(self.message(merge_global_data={"year": 2031}))
        self.assertEqual(
            self.recipient_variables,
            {"ann@example.com": {"year": 2031}, "ben@example.com": {"year": 2031}},
        )

    def test_merge_global_data_with_template(self):
        self.send(self.message(merge_global_data={"year": 2031}, template_id="t"))
        self.assertEqual(self.api_data["v:year"], "%recipient.year%")

    def test_template_in_esp_extra(self):
        message = self.message(
            merge_data={"ann@example.com": {"a": 1}}, esp_extra={"template": "t"}
        )
        self.send(message)
        self.assertEqual(self.api_data["v:a"], "%recipient.a%")

    def test_merge_metadata(self):
        self.send(
            self.message(
                metadata={"a": "all", "b": "all"},
                merge_metadata={"ann@example.com": {"b": "ann", "c": [1]}},
            )
        )
        self.assertEqual(self.api_data["v:a"], "all")
        self.assertEqual(self.api_data["v:b"], "%recipient.v:b%")
        self.assertEqual(self.api_data["v:c"], "%recipient.v:c%")
        self.assertEqual(
            self.recipient_variables,
            {
                "ann@example.com": {"v:b": "ann", "v:c": [1]},
                "ben@example.com": {"v:b": "all", "v:c": ""},
            },
        )

    def test_merge_headers(self):
        self.send(
            self.message(
                headers={"List-Unsubscribe": "<mailto:all@example.com>"},
                reply_to=["reply@example.com"],
                esp_extra={"h:X-Extra": "extra"},
                merge_headers={
                    "ann@example.com": {
                        "List-Unsubscribe": "<mailto:ann@example.com>",
                        "X-Number": 1,
                        "X-Lazy": gettext_lazy("lazy"),
                    },
                    "ben@example.com": {"Reply-To": "ben-reply@example.com", "X-Extra": "ben"},
                },
            )
        )
        names = {"List-Unsubscribe", "X-Number", "X-Lazy", "Reply-To", "X-Extra"}
        for name in names:
            self.assertEqual(self.api_data[f"h:{name}"], f"%recipient.h:{name}%")
        self.assertEqual(
            self.recipient_variables,
            {
                "ann@example.com": {
                    "h:List-Unsubscribe": "<mailto:ann@example.com>",
                    "h:X-Number": 1,
                    "h:X-Lazy": "lazy",
                    "h:Reply-To": "reply@example.com",
                    "h:X-Extra": "extra",
                },
                "ben@example.com": {
                    "h:List-Unsubscribe": "<mailto:all@example.com>",
                    "h:X-Number": "",
                    "h:X-Lazy": "",
                    "h:Reply-To": "ben-reply@example.com",
                    "h:X-Extra": "ben",
                },
            },
        )

    def test_merge_header_names_are_case_insensitive(self):
        self.send(
            self.message(
                headers={"x-REF": "none"},
                merge_headers={
                    "ann@example.com": {"X-Ref": "ann", "x-a": "1"},
                    "ben@example.com": {"x-ref": "ben"},
                },
            )
        )
        self.assertEqual(
            self.recipient_variables,
            {
                "ann@example.com": {"h:X-Ref": "ann", "h:X-A": "1"},
                "ben@example.com": {"h:X-Ref": "ben", "h:X-A": ""},
            },
        )
        self.assertEqual(
            {field for field in self.api_data if field.startswith("h:")}, {"h:X-Ref", "h:X-A"}
        )

    def test_recipients_are_matched_as_written(self):
        self.send(
            make_message(
                to=["Zoë <zoe@Bücher.Example>", "ANN@EXAMPLE.COM"],
                merge_data={
                    "zoe@bücher.example": {"a": 1},
                    "ANN@example.com": {"a": 2},
                    "ann@example.com": {"a": "another mailbox"},
                },
            )
        )
        # The keys are the addresses in "to", so that Mailgun can match those.
        self.assertEqual(
            self.api_data["to"], ["Zoë <zoe@xn--bcher-kva.example>", "ANN@EXAMPLE.COM"]
        )
        self.assertEqual(
            self.recipient_variables,
            {"zoe@xn--bcher-kva.example": {"a": 1}, "ANN@EXAMPLE.COM": {"a": 2}},
        )

    def test_entries_of_others(self):
        self.send(
            self.message(
                cc=["cc@example.com"],
                bcc=["bcc@example.com"],
                merge_data={
                    "ann@example.com": {"a": 1},
                    "cc@example.com": {"b": 2},
                    "nobody@example.com": {"c": 3},
                },
            )
        )
        self.assertEqual(
            self.recipient_variables,
            {
                "ann@example.com": {"a": 1, "b": "", "c": ""},
                "ben@example.com": {"a": "", "b": "", "c": ""},
            },
        )
        self.assertEqual(self.api_data["cc"], ["cc@example.com"])
        self.assertEqual(self.api_data["bcc"], ["bcc@example.com"])

    def test_batch_without_data(self):
        for attr in ("merge_data", "merge_metadata", "merge_headers"):
            for value in ({}, {"ann@example.com": {}}):
                with self.subTest(attr=attr, value=value):
                    self.send(self.message(**{attr: value}))
                    self.assertEqual(self.recipient_variables, {})

    def test_batch_without_to(self):
        message = make_message(to=[], cc=["cc@example.com"], merge_data={"a@b.c": {"a": 1}})
        self.send(message)
        self.assertEqual(self.recipient_variables, {})
        message = make_message(to=[], cc=["cc@example.com"], merge_global_data={"a": 1})
        self.send(message)
        self.assertNotIn("recipient-variables", self.api_data)

    def test_not_a_batch(self):
        for message in (
            self.message(),
            self.message(metadata={"a": 1}),
            self.message(merge_global_data={}),
            self.message(template_id="t", metadata={"a": 1}),
        ):
            self.send(message)
            self.assertNotIn("recipient-variables", self.api_data)

    def test_conflicting_template_keys(self):
        feature = "conflicting merge_data and metadata keys ('plan', 'year') when using template_id"
        message = self.message(
            template_id="t",
            merge_data={"ann@example.com": {"year": 1, "a": 1}},
            merge_global_data={"plan": 2},
            metadata={"plan": "metadata", "b": "metadata"},
            merge_metadata={"ben@example.com": {"year": "metadata"}},
        )
        self.assert_unsupported(message, feature)
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.api_data["v:plan"], "%recipient.plan%")
        self.assertEqual(self.api_data["v:year"], "%recipient.year%")
        self.assertEqual(self.api_data["v:b"], "metadata")

    def test_same_keys_without_template(self):
        self.send(
            self.message(metadata={"plan": "m"}, merge_data={"ann@example.com": {"plan": "d"}})
        )
        self.assertEqual(self.api_data["v:plan"], "m")
        self.assertEqual(self.recipient_variables["ann@example.com"], {"plan": "d"})

    def test_merge_data_is_not_modified(self):
        attrs = {
            "merge_data": {"ann@example.com": {"a": 1}},
            "merge_global_data": {"b": 2},
            "metadata": {"c": 3},
            "merge_metadata": {"ben@example.com": {"d": 4}},
            "merge_headers": {"ben@example.com": {"x-e": "5"}},
            "esp_extra": {"sender_domain": "example.com", "o:dkim": "no"},
        }
        before = json.dumps(attrs)
        self.send(self.message(template_id="t", **attrs))
        self.assertEqual(json.dumps(attrs), before)

    def test_recipients_do_not_share_variables(self):
        message = self.message(merge_global_data={"a": 1})
        backend = self.make_backend()
        payload = backend.build_message_payload(message, {})
        first, again = payload.serialize_data(), payload.serialize_data()
        self.assertEqual(first, again)
        self.assertNotIn("recipient-variables", payload.data)

    def test_unserializable_data(self):
        for attr in ("merge_data", "merge_metadata", "merge_headers"):
            message = self.message(**{attr: {"ann@example.com": {"total": Decimal("1.5")}}})
            with self.assertRaises(AnymailSerializationError) as raised:
                self.send(message)
            text = str(raised.exception)
            self.assertIn("Don't know how to send this data to Mailgun", text)
            self.assertIn("Decimal is not JSON serializable", text)
        self.assert_api_not_called()


class ResponseTests(MailgunTestCase):
    def assert_api_error(self, *texts: str, **options: Any) -> AnymailRequestsAPIError:
        message = make_message()
        with self.assertRaises(AnymailRequestsAPIError) as raised:
            self.send(message, **options)
        for text in texts:
            self.assertIn(text, str(raised.exception))
        error = raised.exception
        self.assertIs(error.email_message, message)
        self.assertIsNotNone(error.payload)
        self.assertIsNotNone(error.response)
        self.assertEqual(error.esp_name, "Mailgun")
        self.assertIsNone(message.anymail_status.status)
        self.assertIsNone(message.anymail_status.message_id)
        self.assertEqual(message.anymail_status.recipients, {})
        return error

    def test_queued(self):
        status = self.send(
            make_message(
                to=["Ann <ann@example.com>", "zoe@Bücher.example"],
                cc=["cc@example.com"],
                bcc=["bcc@example.com"],
            )
        )
        self.assertEqual(status.status, {"queued"})
        self.assertEqual(status.message_id, MESSAGE_ID)
        self.assertEqual(
            set(status.recipients),
            {"ann@example.com", "zoe@Bücher.example", "cc@example.com", "bcc@example.com"},
        )
        for recipient in status.recipients.values():
            self.assertEqual((recipient.status, recipient.message_id), ("queued", MESSAGE_ID))
        self.assertEqual(status.esp_response.json(), self.api_response)

    def test_other_success_status(self):
        self.api_response = make_response(202, json_data={"id": "i", "message": "Queued"})
        self.assertEqual(self.send(make_message()).message_id, "i")

    def test_unknown_domain(self):
        for body in (
            {"json_data": {"message": "Domain not found: x"}},
            {"body": b"Domain not found"},
        ):
            self.api_response = make_response(404, **body)
            self.assert_api_error(
                "Unknown sender domain 'mg.example.com'",
                "MAILGUN_API_URL",
                "'https://api.eu.mailgun.net/v3/'",
                "Mailgun API response 404",
                sender_domain="mg.example.com",
                api_url="https://api.eu.mailgun.net/v3",
            )

    def test_other_not_found(self):
        self.api_response = make_response(404, body=b"Not found")
        error = self.assert_api_error("Mailgun API response 404")
        self.assertNotIn("Unknown sender domain", str(error))

    def test_other_domain_not_found(self):
        self.api_response = make_response(400, body=b"Domain not found")
        error = self.assert_api_error("Mailgun API response 400")
        self.assertNotIn("Unknown sender domain", str(error))

    def test_api_root(self):
        self.api_response = make_response(
            200, body=b"Mailgun Magnificent API", url="https://api.mailgun.net/v3/"
        )
        self.assert_api_error(
            "Invalid Mailgun API endpoint 'https://api.mailgun.net/v3/'",
            "MAILGUN_SENDER_DOMAIN",
            "MAILGUN_API_URL",
        )

    def test_api_root_with_other_status(self):
        self.api_response = make_response(404, body=b"Mailgun Magnificent API")
        error = self.assert_api_error("Mailgun API response 404")
        self.assertNotIn("Invalid Mailgun API endpoint", str(error))

    def test_http_error(self):
        self.api_response = make_response(
            400, json_data={"message": "'to' parameter is not a valid address"}, reason="BAD"
        )
        error = self.assert_api_error()
        self.assertTrue(str(error).startswith("Mailgun API response 400 (BAD):\n{"))
        self.assertIn('"message": "\'to\' parameter is not a valid address"', str(error))
        self.assertEqual(error.status_code, 400)

    def test_http_error_that_is_not_json(self):
        self.api_response = make_response(401, body=b"Forbidden", reason="UNAUTHORIZED")
        self.assert_api_error("Mailgun API response 401 (UNAUTHORIZED): 'Forbidden'")

    def test_not_json(self):
        self.api_response = make_response(200, body=b"not JSON")
        error = self.assert_api_error("Invalid JSON in Mailgun API response")
        self.assertIs(error.email_message.anymail_status.esp_response, error.response)

    def test_unexpected_format(self):
        for data in (
            {"id": "i"},
            {"message": "Queued"},
            {},
            [],
            "text",
            1,
            {"id": None, "message": "Queued"},
            {"id": ["i"], "message": "Queued"},
            {"id": "i", "message": None},
            {"id": "i", "message": {}},
        ):
            with self.subTest(data=data):
                self.api_response = make_response(json_data=data)
                error = self.assert_api_error("Invalid Mailgun API response format")
                self.assertIsInstance(error.__cause__, (KeyError, TypeError))

    def test_json_null(self):
        self.api_response = make_response(body=b"null")
        self.assert_api_error("Invalid Mailgun API response format")

    def test_not_queued(self):
        for text in ("Something else", "", "queued"):
            self.api_response = {"id": "i", "message": text}
            self.assert_api_error("Unrecognized Mailgun API message", repr(text))

    def test_connection_error(self):
        self.api_response = requests.ConnectionError("refused")
        with self.assertRaises(AnymailAPIError) as raised:
            self.send(make_message())
        self.assertIsInstance(raised.exception, requests.ConnectionError)
        self.assertIn("https://api.mailgun.net/v3/example.com/messages", str(raised.exception))
        self.assertNotIn("test-key", str(raised.exception))

"""Messages of Amazon SNS, and of services that are compatible with it, and their signatures.

- Messages: https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
- Signatures: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html

Verifying signatures takes the cryptography package, which is imported only then.

Who has an account can make a topic, and subscribe it to any URL: all that a signature proves is
which topic a message is from. That is why there are lists of topics.
"""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from django.http import HttpRequest, HttpResponse
from django.utils.timezone import now

from .._docs import docs_of_setting
from ..conf import as_list, read_settings, setting, setting_name
from ..exceptions import (
    AnymailConfigurationError,
    AnymailRequestsAPIError,
    AnymailWebhookValidationFailure,
)
from ..signals import AnymailEvent
from .base import AnymailBaseWebhookView
from .decoding import as_iso_time, as_key, as_str, parse_json
from .downloads import Downloads
from .public_keys import is_signature, require_cryptography

logger = logging.getLogger("anymail.webhooks")

# Type of SNS messages
NOTIFICATION = "Notification"
SUBSCRIPTION_CONFIRMATION = "SubscriptionConfirmation"
UNSUBSCRIBE_CONFIRMATION = "UnsubscribeConfirmation"

_CONFIRMATION_FIELDS = (
    "Message",
    "MessageId",
    "SubscribeURL",
    "Timestamp",
    "Token",
    "TopicArn",
    "Type",
)

# What signatures cover, in the order of the string to sign. Subject can be missing.
SIGNED_FIELDS = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    SUBSCRIPTION_CONFIRMATION: _CONFIRMATION_FIELDS,
    UNSUBSCRIBE_CONFIRMATION: _CONFIRMATION_FIELDS,
}

# SignatureVersion -> hash
HASHES: dict[str, Literal["SHA1", "SHA256"]] = {"1": "SHA1", "2": "SHA256"}

MAX_CERTIFICATES = 20
"""How many are kept. Those in use at a time are about one for each region."""
MAX_CERTIFICATE_BYTES = 64 * 1024
FETCH_TIMEOUT = 5.0
"""Seconds to connect, and to wait for data. SNS itself waits 15 seconds for an answer."""

_REGION = re.compile(r"[a-zA-Z0-9-]+")


# -- Signatures -------------------------------------------------------------------------------


def string_to_sign(message: Mapping[str, Any]) -> bytes:
    """Return what the signature of an SNS message is made from.

    Raises AnymailWebhookValidationFailure if a field is missing, or is not text.
    """
    lines = []
    for name in SIGNED_FIELDS.get(as_key(message.get("Type")), _CONFIRMATION_FIELDS):
        value = message.get(name)
        if name == "Subject" and value is None:
            continue
        # With line breaks elsewhere, one string could be that of several messages.
        if not isinstance(value, str) or ("\n" in value and name != "Message"):
            raise AnymailWebhookValidationFailure(f"Missing or invalid {name} in SNS message")
        lines += [name, value]
    try:
        return "".join(f"{line}\n" for line in lines).encode()
    except UnicodeEncodeError as err:
        raise AnymailWebhookValidationFailure("Invalid text in SNS message") from err


def verify_signature(
    message: Mapping[str, Any],
    *,
    esp_name: str,
    certificate_url: re.Pattern[str],
    check_certificate: Callable[[Any, datetime], None],
    now: datetime,
) -> None:
    """Raise AnymailWebhookValidationFailure if the signature of an SNS message is not right.

    The certificate is only fetched if the whole of its URL matches ``certificate_url``.
    ``check_certificate`` raises AnymailWebhookValidationFailure if it is not the provider's; it is
    called with the certificate (of the cryptography package), and with ``now``, the time at which
    certificates must be valid.

    Raises AnymailRequestsAPIError if the certificate can't be fetched now, but perhaps later.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    def failure(problem: str) -> AnymailWebhookValidationFailure:
        return AnymailWebhookValidationFailure(f"{esp_name} webhook call with {problem}")

    data = string_to_sign(message)
    version, url = message.get("SignatureVersion"), message.get("SigningCertURL")
    if as_key(version) not in HASHES:
        raise failure(f"an unknown SNS SignatureVersion {version!r:.20}")
    if not isinstance(url, str) or not certificate_url.fullmatch(url):
        raise failure(f"an SNS SigningCertURL that is not {esp_name}'s: {url!r:.200}")
    certificate = certificates.get(url, esp_name)
    if not _is_in_date(certificate, now):
        raise failure("an SNS certificate that is not valid now (check the clock of your server)")
    check_certificate(certificate, now)
    try:
        public_key = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError) as err:
        raise failure("an SNS certificate whose key is not supported") from err
    if not isinstance(public_key, RSAPublicKey):
        raise failure("an SNS certificate that is not for an RSA key")
    signature = as_key(message.get("Signature"))
    if not is_signature(public_key, signature, data, HASHES[as_key(version)]):
        raise failure("an invalid SNS signature")


# -- Certificates -----------------------------------------------------------------------------


class CertificateCache:
    """Fetches certificates, and keeps those that were used last."""

    def __init__(self, max_size: int = MAX_CERTIFICATES) -> None:
        self.max_size = max_size
        self._certificates: OrderedDict[str, Any] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._certificates)

    def __contains__(self, url: str) -> bool:
        return url in self._certificates

    def get(self, url: str, esp_name: str) -> Any:
        """Return the certificate at a URL, which must have been checked.

        Raises AnymailWebhookValidationFailure if there is none, and AnymailRequestsAPIError if
        that can't be known.
        """
        with self._lock:
            if url in self._certificates:
                self._certificates.move_to_end(url)
                return self._certificates[url]
        certificate = _load_certificate(_fetch_certificate(url, esp_name), esp_name)
        self.put(url, certificate)
        return certificate

    def put(self, url: str, certificate: Any) -> None:
        """Keep a certificate, in place of the one that was not used for the longest time."""
        with self._lock:
            self._certificates[url] = certificate
            self._certificates.move_to_end(url)
            while len(self._certificates) > self.max_size:
                self._certificates.popitem(last=False)

    def clear(self) -> None:
        """Forget all certificates."""
        with self._lock:
            self._certificates.clear()


certificates = CertificateCache()
"""By URL. A renewed certificate has a URL of its own."""


def _fetch_certificate(url: str, esp_name: str) -> bytes:
    try:
        return _fetch(url, esp_name, MAX_CERTIFICATE_BYTES)
    except AnymailRequestsAPIError as err:
        if not _is_temporary(err):
            raise AnymailWebhookValidationFailure(
                f"{esp_name} webhook call with an SNS SigningCertURL where there is nothing"
            ) from err
    return _fetch(url, esp_name, MAX_CERTIFICATE_BYTES)


def _is_temporary(err: AnymailRequestsAPIError) -> bool:
    status = err.status_code
    return status is None or status == 429 or status >= 500


def _fetch(url: str, esp_name: str, max_bytes: int) -> bytes:
    """Return what is at a URL, which must have been checked. Redirects are not followed."""
    downloads = Downloads(esp_name, url)
    downloads.timeout = FETCH_TIMEOUT
    content = b""
    with downloads.get(url) as response:
        for chunk in downloads.chunks(response, 4096):
            content += chunk
            if len(content) > max_bytes:
                raise AnymailWebhookValidationFailure(
                    f"{esp_name} webhook call that refers to more than {max_bytes} bytes"
                )
    return content


def confirm_with_url(url: str, esp_name: str) -> None:
    """Confirm a subscription by calling its SubscribeURL, which must have been checked.

    Raises AnymailRequestsAPIError if that doesn't succeed.
    """
    _fetch(url, esp_name, MAX_CERTIFICATE_BYTES)


def _load_certificate(content: bytes, esp_name: str) -> Any:
    from cryptography import x509

    try:
        if b"-----BEGIN" in content:
            return x509.load_pem_x509_certificate(content)
        return x509.load_der_x509_certificate(content)
    except ValueError as err:
        raise AnymailWebhookValidationFailure(
            f"{esp_name} webhook call with an SNS SigningCertURL where there is no certificate"
        ) from err


def _is_in_date(certificate: Any, now: datetime) -> bool:
    return bool(certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc)


def certificate_names(certificate: Any) -> list[str]:
    """Return the names that a certificate is for: the common name, and DNS names."""
    from cryptography import x509

    names = [
        str(attribute.value)
        for attribute in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    ]
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return names
    return names + list(map(str, extension.value.get_values_for_type(x509.DNSName)))


class TrustChain:
    """The certificates that vouch for those of a provider, up to a root that is trusted."""

    def __init__(self, certificates: Iterable[Any], setting: str) -> None:
        self.certificates = list(certificates)
        self.setting = setting
        if not any(_is_issued_by(cert, cert) for cert in self.certificates):
            raise AnymailConfigurationError(
                f"{setting} has no root certificate, which is one that is signed by itself.",
                docs=docs_of_setting(setting),
            )

    @classmethod
    def load(cls, source: str | bytes | Path, setting: str) -> TrustChain:
        """Return the certificates in text in PEM form, or in the file at a path.

        ``setting`` names the source in errors. Raises AnymailConfigurationError if there are none,
        or no root among them.
        """
        from cryptography import x509

        content = source.encode() if isinstance(source, str) else source
        try:
            if not isinstance(content, bytes) or b"-----BEGIN" not in content:
                content = Path(source if isinstance(source, Path) else str(source)).read_bytes()
            found = x509.load_pem_x509_certificates(content)
        except (OSError, TypeError, ValueError) as err:
            raise AnymailConfigurationError(
                f"{setting} is neither certificates in PEM form nor the path of a file with some.",
                docs=docs_of_setting(setting),
            ) from err
        return cls(found, setting)

    def check(self, certificate: Any, now: datetime) -> None:
        """Raise AnymailWebhookValidationFailure if no root vouches for a certificate.

        Raises AnymailConfigurationError if what would vouch for it is not valid at the time.
        """
        for _ in self.certificates:
            issuers = [cert for cert in self.certificates if _is_issued_by(certificate, cert)]
            if not issuers:
                break
            valid = [issuer for issuer in issuers if _is_in_date(issuer, now)]
            if not valid:
                raise AnymailConfigurationError(
                    f"The certificate of {issuers[0].subject.rfc4514_string()!r} in {self.setting} "
                    f"is valid from {issuers[0].not_valid_before_utc} to "
                    f"{issuers[0].not_valid_after_utc}. Get a new one.",
                    docs=docs_of_setting(self.setting),
                )
            certificate = valid[0]
            if _is_issued_by(certificate, certificate):
                return
        raise AnymailWebhookValidationFailure(
            f"Webhook call with a certificate that nothing in {self.setting} vouches for"
        )


def _is_issued_by(certificate: Any, issuer: Any) -> bool:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, UnsupportedAlgorithm, ValueError):
        return False
    return True


# -- Views ------------------------------------------------------------------------------------


class SNSBaseWebhookView(AnymailBaseWebhookView):
    """Handles the SNS messages that a provider's events come in.

    Subclasses implement :meth:`esp_to_anymail_events` and what is about certificates and
    subscriptions. Raises AnymailImproperlyInstalled if signatures are to be verified, but there is
    no cryptography package.
    """

    install_extra = ""
    """The extra of Anymail that has cryptography."""
    certificate_url: re.Pattern[str]
    """What a SigningCertURL must match, from its scheme to its end."""
    sns_headers_are_required = True
    """Whether calls must have the x-amz-sns headers. Those that there are must be right."""
    not_events: frozenset[str] = frozenset()
    """Messages of notifications that are about something else."""

    auto_confirm_sns_subscriptions: bool = setting(
        "Whether the webhooks confirm their subscriptions to topics.",
        default=True,
    )
    sns_topic_arns: list[str] = setting(
        "The ARN of your topic, or a list of ARNs. ``*`` in one stands for any "
        "characters (as in Python's :mod:`fnmatch`). Calls for other topics are refused.",
        default=(),
        default_text="any topic",
        kind=as_list,
    )

    def __init__(self, **kwargs: Any) -> None:
        read_settings(self, kwargs)
        if self.verifies_signatures:
            require_cryptography(self.esp_name, self.install_extra)
            if self.sns_topic_arns:
                self.warn_if_no_basic_auth = False
        super().__init__(**kwargs)

    # -- For subclasses -----------------------------------------------------------------------

    @property
    def verifies_signatures(self) -> bool:
        """Whether messages must have a valid signature. Needed before ``__init__`` is called."""
        raise NotImplementedError

    def check_certificate(self, certificate: Any, now: datetime) -> None:
        """Raise AnymailWebhookValidationFailure if a certificate is not the provider's."""
        raise NotImplementedError

    def esp_to_anymail_events(
        self, esp_event: dict[str, Any], sns_message: dict[str, Any]
    ) -> Iterable[AnymailEvent]:
        """Return the normalized events for what the provider has published."""
        raise NotImplementedError

    def confirm_subscription(self, region: str, sns_message: dict[str, Any]) -> None:
        """Confirm a subscription to a topic in a region.

        The message is authentic, and has a TopicArn and a Token.
        """
        raise NotImplementedError

    # -- Requests -----------------------------------------------------------------------------

    @property
    def is_protected(self) -> bool:
        return self.verifies_signatures or super().is_protected

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if self.basic_auth and "HTTP_AUTHORIZATION" not in request.META:
            # SNS sends the credentials in a subscription's URL only when it's asked to.
            response = HttpResponse(status=401)
            response["WWW-Authenticate"] = 'Basic realm="Anymail WEBHOOK_SECRET"'
            return response
        if self.verifies_signatures and not self.basic_auth and not self.sns_topic_arns:
            _log_any_topic(self.esp_name, setting_name("sns_topic_arns", self.esp_name))
        return super().post(request, *args, **kwargs)

    def validate_request(self, request: HttpRequest) -> Any:
        super().validate_request(request)  # Basic auth comes before parsing.
        message = self._parse_sns_message(request)
        if self.sns_topic_arns and not self._is_expected_topic(message.get("TopicArn")):
            raise AnymailWebhookValidationFailure(
                f"{self.esp_name} webhook call for SNS topic {message.get('TopicArn')!r:.300}, "
                f"which is not in {setting_name('sns_topic_arns', self.esp_name)}"
            )
        self._check_header(request, "x-amz-sns-message-type", message.get("Type"))
        if as_key(message.get("Type")) not in SIGNED_FIELDS:
            raise AnymailWebhookValidationFailure(
                f"Unknown SNS message type {message.get('Type')!r:.100} in {self.esp_name} webhook"
            )
        self._check_header(request, "x-amz-sns-message-id", message.get("MessageId"))
        if self.verifies_signatures:
            verify_signature(
                message,
                esp_name=self.esp_name,
                certificate_url=self.certificate_url,
                check_certificate=self.check_certificate,
                now=now(),
            )
            self.check_freshness(as_iso_time(message["Timestamp"]))

    def _is_expected_topic(self, topic_arn: Any) -> bool:
        arn = as_key(topic_arn)
        return any(fnmatchcase(arn, pattern) for pattern in self.sns_topic_arns)

    def _check_header(self, request: HttpRequest, name: str, expected: Any) -> None:
        """Raise AnymailWebhookValidationFailure if an SNS header isn't what the body has."""
        value = request.headers.get(name)
        if value is None and not self.sns_headers_are_required:
            return
        if value != expected:
            raise AnymailWebhookValidationFailure(
                f"SNS header {name!r} is {value!r:.100}, but the body of this {self.esp_name} "
                f"webhook call has {expected!r:.100}"
            )

    @classmethod
    def _parse_sns_message(cls, request: HttpRequest) -> dict[str, Any]:
        """Return the SNS message that is the body of the request. Parsed only once.

        (Other packages call this, with a view or without.)

        Raises AnymailWebhookValidationFailure if it isn't a JSON object.
        """
        message: dict[str, Any] | None = getattr(request, "_sns_message", None)
        if message is None:
            what = f"SNS message in {cls.esp_name} webhook"
            try:
                body = request.body.decode(request.encoding or "utf-8")
            except (LookupError, UnicodeError) as err:
                raise AnymailWebhookValidationFailure(f"Invalid text in {what}") from err
            message = parse_json_object(body, what)
            request._sns_message = message  # type: ignore[attr-defined]
        return message

    def decode(self, request: HttpRequest) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Return what the provider has published, and the SNS message that it came in."""
        message = self._parse_sns_message(request)
        if message["Type"] != NOTIFICATION:
            return []
        text = message.get("Message")
        if not isinstance(text, str):
            raise AnymailWebhookValidationFailure("No Message in SNS notification")
        if text in self.not_events:
            return []
        what = f"Message of SNS notification in {self.esp_name} webhook"
        return [(parse_json_object(text, what), message)]

    def convert(self, data: tuple[dict[str, Any], dict[str, Any]]) -> list[AnymailEvent]:
        return list(self.esp_to_anymail_events(*data))

    def parse_events(self, request: HttpRequest) -> Sequence[AnymailEvent]:
        message = self._parse_sns_message(request)
        # An UnsubscribeConfirmation has a token too, but that would be for subscribing again.
        if message["Type"] == SUBSCRIPTION_CONFIRMATION:
            self.auto_confirm_sns_subscription(message)
        return super().parse_events(request)

    def auto_confirm_sns_subscription(self, sns_message: dict[str, Any]) -> None:
        """Confirm the subscription of the webhook to an SNS topic.

        Only if calls are authenticated, by a secret or by signatures of topics that are known:
        anyone can subscribe their own topics to any URL, and what SNS then sends is as genuine as
        all its messages. Raises AnymailWebhookValidationFailure otherwise; other exceptions if
        SNS refuses.
        """
        topic_arn = as_str(sns_message.get("TopicArn")) or ""
        if not self.auto_confirm_sns_subscriptions:
            logger.warning(
                "The %s webhook got a request to confirm its subscription to SNS topic %.300r, and "
                "ignores it because %s is False: confirm it yourself. Or remove the setting, "
                "delete the subscription, and create it again.",
                self.esp_name,
                topic_arn,
                setting_name("auto_confirm_sns_subscriptions", self.esp_name),
            )
            return
        token = as_str(sns_message.get("Token")) or ""
        is_known = self.verifies_signatures and self._is_expected_topic(topic_arn)
        if not self.basic_auth and not is_known:
            # Not with the token, nor the SubscribeURL that has it in it: who has that can confirm.
            raise AnymailWebhookValidationFailure(
                f"Anymail received an unexpected SubscriptionConfirmation request for SNS topic "
                f"{topic_arn!r} in its {self.esp_name} webhook. Set ANYMAIL['WEBHOOK_SECRET'] for "
                "Anymail to confirm subscriptions, or have signatures verified "
                f"({self.signature_setting}) and set "
                f"{setting_name('sns_topic_arns', self.esp_name)}. Then delete the subscription, "
                "and create it again, with the secret in its URL."
            )
        # arn:partition:sns:region:account:topic
        parts = topic_arn.split(":")
        if len(parts) != 6 or not _REGION.fullmatch(parts[3]) or not token:
            raise AnymailWebhookValidationFailure(
                f"Invalid SubscriptionConfirmation for SNS topic {topic_arn!r} in {self.esp_name} "
                "webhook"
            )
        self.confirm_subscription(parts[3], sns_message)


@cache
def _log_any_topic(esp_name: str, setting: str) -> None:
    # Once in the life of a process.
    logger.warning(
        "The %s webhook accepts signed messages of any SNS topic, which everybody with an account "
        "can make. Set %s to yours, or WEBHOOK_SECRET.",
        esp_name,
        setting,
    )


def parse_json_object(text: str, what: str) -> dict[str, Any]:
    """Parse a JSON object. Raises AnymailWebhookValidationFailure if it's anything else."""
    data = parse_json(text, what)
    if not isinstance(data, dict):
        raise AnymailWebhookValidationFailure(f"Unexpected data in {what}: not a JSON object")
    return data

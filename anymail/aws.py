"""What the Amazon SES backend and webhooks share: how they call AWS."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

from ._docs import docs_of_setting
from ._version import __version__
from .conf import get_anymail_setting, sandbox_url, setting, setting_name
from .exceptions import AnymailConfigurationError, AnymailImproperlyInstalled, Problem
from .masking import mask_urls_in_error
from .sending.problems import SENDER, ErrorTable

INSTALL_EXTRA = "amazon-ses"

SANDBOX_PATH = "amazon_ses/"
"""What the sandbox has in place of AWS's APIs."""

# The text of a MessageRejected error that is about the account.
_NOT_VERIFIED = "Email address is not verified"

AWS_ERRORS: ErrorTable = {
    "AccessDenied": Problem.ACCOUNT,
    "AccountSuspended": Problem.ACCOUNT,
    "BadRequest": Problem.MESSAGE,
    "ExpiredToken": Problem.ACCOUNT,
    "InvalidClientTokenId": Problem.ACCOUNT,
    "InvalidSignature": Problem.ACCOUNT,
    "LimitExceeded": Problem.ACCOUNT,
    "MailFromDomainNotVerified": SENDER,
    "MessageRejected": Problem.MESSAGE,
    "NotFound": Problem.UNSUITABLE,  # template
    "SendingPaused": Problem.ACCOUNT,
    "SignatureDoesNotMatch": Problem.ACCOUNT,
    "Throttling": Problem.BUSY,
    "TooManyRequests": Problem.BUSY,
    "UnrecognizedClient": Problem.ACCOUNT,
    _NOT_VERIFIED: SENDER,
}
"""What the codes of SES's errors mean: see :func:`aws_error_code`."""


def aws_error_code(response: Mapping[str, Any]) -> str:
    """Return the code of an error, as it is in AWS_ERRORS, from the response of a ClientError."""
    error = response["Error"]
    if _NOT_VERIFIED in error.get("Message", ""):
        return _NOT_VERIFIED
    code: str = error["Code"]
    return code.removesuffix("Exception")


def missing_package(package: str) -> AnymailImproperlyInstalled:
    """Return the error to raise if an optional package is not installed."""
    return AnymailImproperlyInstalled(package, install_extra=INSTALL_EXTRA, feature="Amazon SES")


class CallsAWS:
    """Declares the settings that the backend and the webhook views have in common."""

    esp_name: str

    client_params: dict[str, Any] = setting(
        "Dict of arguments for boto3's ``Session.client()``, such as ``region_name``, "
        '``aws_access_key_id`` and ``aws_secret_access_key``. Its ``"config"`` can be a botocore '
        "``Config``, or a dict of arguments for one. The option replaces the setting. See "
        ":ref:`amazon-ses-credentials`.",
        default_of=lambda _: {},
        default_text="``{}``",
    )
    session_params: dict[str, Any] = setting(
        "Dict of arguments for ``boto3.session.Session()``, such as ``profile_name``.",
        default_of=lambda _: {},
        default_text="``{}``",
    )


def _get_anymail_boto3_params(
    esp_name: str = "Amazon SES", kwargs: MutableMapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the keyword arguments of ``boto3.session.Session()`` and of its ``client()``.

    From the SESSION_PARAMS and CLIENT_PARAMS settings, or ``session_params`` and
    ``client_params`` in kwargs, which are taken out of them. See boto3_params.
    """
    session_params, client_params = (
        get_anymail_setting(name, esp_name=esp_name, kwargs=kwargs, default={})
        for name in ("session_params", "client_params")
    )
    return boto3_params(esp_name, session_params, client_params)


def boto3_params(
    esp_name: str, session_params: dict[str, Any], client_params: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the keyword arguments of ``boto3.session.Session()`` and of its ``client()``.

    The latter always have a "config", which tells AWS that Anymail is calling; what the settings
    have in it, as a botocore Config or a dict of arguments for one, takes precedence.

    Raises AnymailImproperlyInstalled without boto3; AnymailConfigurationError for a "config" that
    botocore doesn't take, and for a SANDBOX setting that can't be used here.
    https://boto3.amazonaws.com/v1/documentation/api/latest/guide/configuration.html
    """
    try:
        import boto3  # noqa: F401  (botocore can be there for other reasons)
        from botocore.config import Config
    except ImportError as err:
        raise missing_package("boto3") from err

    config = Config(
        user_agent_extra=f"django-anymail/{__version__}-{esp_name.lower().replace(' ', '-')}"
    )
    with configuration_errors(esp_name):
        client_params = dict(client_params)
        user_config = client_params.get("config")
        if user_config is not None:
            if not isinstance(user_config, Config):
                user_config = Config(**user_config)
            config = copy.deepcopy(config.merge(user_config))  # boto3 changes what is in it
        return dict(session_params), {**_for_sandbox(client_params), "config": config}


def _for_sandbox(client_params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters of a client that calls the sandbox, if there is one, instead of AWS.

    It takes any credentials: AWS's own need not be looked for.
    """
    sandbox = sandbox_url()
    if sandbox is None or "endpoint_url" in client_params:
        return client_params
    return {
        "aws_access_key_id": "sandbox",
        "aws_secret_access_key": "sandbox",
        **client_params,
        "endpoint_url": f"{sandbox}/{SANDBOX_PATH}",
    }


@contextmanager
def configuration_errors(esp_name: str) -> Iterator[None]:
    """Have boto3's errors about what it's configured with raised as AnymailConfigurationError.

    But not those about getting credentials from elsewhere, which can be there the next time.
    """
    from botocore import exceptions as boto

    passing = (
        *(boto.ConnectionError, boto.HTTPClientError, boto.NoCredentialsError),
        *(boto.CredentialRetrievalError, boto.MetadataRetrievalError),
        *(boto.SSOError, boto.TokenRetrievalError),
    )
    try:
        yield
    except passing:
        raise
    except (boto.BotoCoreError, AttributeError, TypeError, ValueError) as err:
        mask_urls_in_error(err)
        name = setting_name("client_params", esp_name)
        raise AnymailConfigurationError(
            f"boto3 can't be used with your {name}, "
            f"{setting_name('session_params', esp_name)} and its other configuration: {err}",
            docs=docs_of_setting(name),
        ) from err

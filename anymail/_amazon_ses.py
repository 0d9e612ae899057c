"""What the Amazon SES backend and webhooks share: how they call AWS."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from ._version import __version__
from .conf import get_anymail_setting
from .exceptions import AnymailImproperlyInstalled

INSTALL_EXTRA = "amazon-ses"


def missing_package(package: str) -> AnymailImproperlyInstalled:
    """Return the error to raise if an optional package is not installed."""
    return AnymailImproperlyInstalled(package, install_extra=INSTALL_EXTRA, feature="Amazon SES")


def _get_anymail_boto3_params(
    esp_name: str = "Amazon SES", kwargs: MutableMapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the keyword arguments of ``boto3.session.Session()`` and of its ``client()``.

    From the SESSION_PARAMS and CLIENT_PARAMS settings, or ``session_params`` and
    ``client_params`` in kwargs, which are taken out of them. The latter always have a "config",
    which tells AWS that Anymail is calling; what the settings have in it, as a botocore Config or
    a dict of arguments for one, takes precedence.

    Raises AnymailImproperlyInstalled without boto3.
    https://boto3.amazonaws.com/v1/documentation/api/latest/guide/configuration.html
    """
    try:
        import boto3  # noqa: F401  (botocore can be there for other reasons)
        from botocore.config import Config
    except ImportError as err:
        raise missing_package("boto3") from err

    session_params = get_anymail_setting(
        "session_params", esp_name=esp_name, kwargs=kwargs, default={}
    )
    client_params = get_anymail_setting(
        "client_params", esp_name=esp_name, kwargs=kwargs, default={}
    )

    config = Config(
        user_agent_extra=f"django-anymail/{__version__}-{esp_name.lower().replace(' ', '-')}"
    )
    user_config = client_params.get("config")
    if user_config is not None:
        if not isinstance(user_config, Config):
            user_config = Config(**user_config)
        config = config.merge(user_config)
    return dict(session_params), {**client_params, "config": config}

"""Which provider supports what, found out by asking the payload classes.

``python -m tests.feature_matrix`` writes the table in docs/esps/feature_matrix.rst anew.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from anymail.providers import PROVIDERS, Provider

PATH = Path(__file__).parent.parent / "docs" / "esps" / "feature_matrix.rst"

YES, NO, ONE_TAG, WITH_TEMPLATE = "yes", "no", "one tag", "with template"

AMP = [("<p>", "text/html"), ("<html amp4email>", "text/x-amp-html")]

# Feature -> what a message has that uses it
FEATURES: dict[str, dict[str, Any]] = {
    "envelope_sender": {"envelope_sender": "bounces@example.com"},
    "merge_headers": {"merge_headers": {"to@example.com": {"List-Unsubscribe": "<https://x>"}}},
    "metadata": {"metadata": {"a": "1"}},
    "merge_metadata": {"merge_metadata": {"to@example.com": {"a": "1"}}},
    "send_at": {"send_at": datetime(2031, 5, 6, tzinfo=timezone.utc)},
    "tags": {"tags": ["one", "two"]},
    "track_clicks": {"track_clicks": True},
    "track_opens": {"track_opens": True},
    "AMP email": {"alternatives": AMP},
    "template_id": {"template_id": "1234"},
    "merge_data": {"merge_data": {"to@example.com": {"a": "1"}}},
    "merge_global_data": {"merge_global_data": {"a": "1"}},
}

# What can't be found out, in the words of the table
NOTES = {
    ("mailgun", "envelope_sender"): "domain only",
    ("mandrill", "envelope_sender"): "domain only",
    ("unisender_go", "merge_headers"): "List-Unsubscribe only",
    ("sparkpost", "merge_headers"): "with restrictions",
    ("sparkpost", "merge_metadata"): "yes",
    # They track opens and clicks, but a message has no say in it.
    **{
        (provider, feature): "account setting"
        for provider in ("amazon_ses", "brevo", "mailtrap")
        for feature in ("track_opens", "track_clicks")
    },
}


def _accepts(provider: Provider, **attributes: Any) -> bool:
    from django.utils.module_loading import import_string

    from anymail.exceptions import AnymailUnsupportedFeature
    from anymail.message import AnymailMessage

    from .backends.cases import CASES

    case = CASES[provider.module]
    options = {name: case.options[name] for name in (*case.required, *case.matrix_options)}
    backend = import_string(provider.backend)(**options)
    content = {"subject": "", "body": ""} if "template_id" in attributes else {"body": "Text body"}
    message = AnymailMessage(
        from_email="from@example.com", to=["to@example.com"], **{**content, **attributes}
    )
    if "template_id" in attributes:
        message.from_email = None  # Some templates have a sender of their own.
    try:
        payload = backend.build_message_payload(message, {})
        # Some conflicts are only found when everything is known.
        if hasattr(payload, "get_request_params"):
            payload.get_request_params("https://api.example.com/")
        else:
            payload.get_api_params()
    except AnymailUnsupportedFeature:
        return False
    return True


def support(provider: Provider, feature: str) -> str:
    """Return how far a provider supports a feature: YES, NO, ONE_TAG or WITH_TEMPLATE."""
    attributes = FEATURES[feature]
    if _accepts(provider, **attributes):
        return YES
    if feature == "tags" and _accepts(provider, tags=["one"]):
        return ONE_TAG
    if "template_id" not in attributes and _accepts(provider, template_id="1234", **attributes):
        return WITH_TEMPLATE
    return NO


SHARED_CALLS = "different messages in a call"


def build_matrix() -> dict[str, dict[str, str]]:
    """Return {feature: {provider: support}}."""
    from django.utils.module_loading import import_string

    matrix = {
        feature: {name: support(provider, feature) for name, provider in PROVIDERS.items()}
        for feature in FEATURES
    }
    matrix[SHARED_CALLS] = {
        name: NO
        if (shared := import_string(provider.backend).shared_call) is None
        else f"up to {shared.limit}"
        for name, provider in PROVIDERS.items()
    }
    for kind in ("tracking", "inbound"):
        matrix[f"{kind} webhook"] = {
            name: YES if provider.reports(kind) else NO for name, provider in PROVIDERS.items()
        }
    return matrix


# Heading -> the features in its table
GROUPS = {
    "In a message": [
        *("tags", "metadata", "merge_metadata", "merge_headers", "send_at", "envelope_sender"),
    ],
    "Templates and batches": ["template_id", "merge_data", "merge_global_data", SHARED_CALLS],
    "Tracking and formats": ["track_opens", "track_clicks", "AMP email"],
    "Webhooks": ["tracking webhook", "inbound webhook"],
}


def as_rst(matrix: Mapping[str, Mapping[str, str]]) -> str:
    """Return the docs page."""
    lines = [
        "Feature matrix",
        "==============",
        "",
        "What each provider's API offers, as far as Anymail has a name for it. Everything else is",
        "available through ``esp_extra``. Details and restrictions are in the providers' pages.",
        "Choose a provider by how well it delivers, by its support and its price, rather than by",
        "counting cells in this table.",
        "",
        ".. The colors of cells",
        ".. role:: yes",
        ".. role:: no",
        ".. role:: partly",
        "",
    ]
    for heading, group in GROUPS.items():
        lines += ["", heading, "-" * len(heading), "", ".. list-table::"]
        lines += ["   :class: anymail-matrix", "   :header-rows: 1", "   :stub-columns: 1", ""]
        lines += _row(
            [
                "",
                *(
                    f"``{name}``" if name in FEATURES and " " not in name else name
                    for name in group
                ),
            ]
        )
        for provider in PROVIDERS:
            cells = [NOTES.get((provider, name), matrix[name][provider]) for name in group]
            lines += _row([f":doc:`{provider}`", *map(_colored, cells)])
        lines.append("")
    return "\n".join(lines)


def _colored(text: str) -> str:
    return f":{text if text in (YES, NO) else 'partly'}:`{text}`"


def _row(cells: list[str]) -> list[str]:
    return [
        f"   {'* -' if number == 0 else '  -'} {cell}".rstrip() for number, cell in enumerate(cells)
    ]


if __name__ == "__main__":
    import django
    from django.conf import settings

    os.environ.pop("DJANGO_SETTINGS_MODULE", None)
    settings.configure(INSTALLED_APPS=["anymail"])
    django.setup()
    PATH.write_text(as_rst(build_matrix()), encoding="utf-8")

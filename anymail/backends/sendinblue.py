"""Brevo, under its former name. Deprecated."""

from __future__ import annotations

import warnings
from typing import Any

from .._docs import with_docs
from ..exceptions import AnymailDeprecationWarning
from .brevo import EmailBackend as BrevoEmailBackend


class EmailBackend(BrevoEmailBackend):
    """Brevo's backend with the settings ``SENDINBLUE_...``. Deprecated: use Brevo's own."""

    esp_name = "SendinBlue"

    def __init__(self, **kwargs: Any) -> None:
        warnings.warn(
            with_docs(
                "`anymail.backends.sendinblue.EmailBackend` has been renamed "
                "`anymail.backends.brevo.EmailBackend`. Use that, and rename your SENDINBLUE_ "
                "settings to BREVO_.",
                "esps/brevo#brevo-sendinblue",
            ),
            AnymailDeprecationWarning,
            stacklevel=2,
        )
        super().__init__(**kwargs)

"""Where the docs help with an error or warning."""

from __future__ import annotations


def with_docs(text: str, docs: str | None) -> str:
    """Return a text followed by where the docs tell more, such as "settings#idna-encoder"."""
    if docs is None:
        return text
    page, hash_sign, anchor = docs.partition("#")
    return f"{text}\nDocs: {page}.html{hash_sign}{anchor}"


def docs_of_setting(setting: str) -> str:
    """Return where the docs describe a provider's setting; for other packages', settings at all."""
    # Only needed for errors.
    from .providers import PROVIDERS

    if any(setting.startswith(f"{item.settings_prefix}_") for item in PROVIDERS.values()):
        return f"settings#setting-{setting}"
    return "installation#setting-styles"

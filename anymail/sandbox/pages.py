"""The sandbox's own page, and the same as data."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any
from urllib.parse import quote

from .providers import Provider
from .store import StoredAttachment, StoredMessage, StoredRecipient

_STYLE = """
body { font: 16px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 60em; padding: 0 1em }
article { border: 1px solid #ccc; border-radius: 6px; margin: 1em 0; padding: 0 1em 1em }
h2 { font-size: 1.1em } th { text-align: left; font-weight: 600; padding-right: 1em }
th, td { vertical-align: top } pre { background: #f5f5f5; padding: .5em; white-space: pre-wrap }
form { display: inline }
"""


def message_as_dict(message: StoredMessage) -> dict[str, Any]:
    """Return a message as JSON data; attachments without their content."""
    return {
        "provider": message.provider,
        "from": str(message.from_email),
        "reply_to": message.reply_to,
        "subject": message.subject,
        "text": message.text,
        "html": message.html,
        "recipients": [_recipient_as_dict(recipient) for recipient in message.recipients],
        "attachments": [_attachment_as_dict(item) for item in message.attachments],
        "inline_images": [_attachment_as_dict(item) for item in message.inline_images],
        "track_opens": message.track_opens,
        "track_clicks": message.track_clicks,
        "send_at": message.send_at,
        "template_id": message.template_id,
    }


def _recipient_as_dict(recipient: StoredRecipient) -> dict[str, Any]:
    return {
        "kind": recipient.kind,
        "address": recipient.address,
        "display_name": recipient.mailbox.display_name,
        "message_id": recipient.message_id,
        "to": recipient.header_to,
        "subject": recipient.subject,
        "text": recipient.text,
        "html": recipient.html,
        "headers": dict(recipient.headers),
        "metadata": dict(recipient.metadata),
        "tags": list(recipient.tags),
        "merge_data": dict(recipient.merge_data),
    }


def _attachment_as_dict(attachment: StoredAttachment) -> dict[str, Any]:
    return {
        "filename": attachment.filename,
        "content_type": attachment.content_type,
        "content_id": attachment.content_id,
        "size": len(attachment.content),
    }


def render_messages(
    messages: list[StoredMessage],
    providers: Mapping[str, Provider],
    control: str,
    webhook_url: str | None,
) -> str:
    """Return the HTML page that lists messages, newest first, with buttons for their events."""
    site = escape(webhook_url) if webhook_url else "nowhere: the sandbox has no webhook_url"
    articles = "".join(
        _message_article(message, providers[message.provider], control)
        for message in reversed(messages)
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Anymail sandbox</title>"
        f"<style>{_STYLE}</style><h1>Anymail sandbox</h1>"
        f"<p>{len(messages)} messages, newest first. Webhooks go to {site}.</p>{articles}</html>"
    )


def _message_article(message: StoredMessage, provider: Provider, control: str) -> str:
    files = [
        f"{item.filename} ({item.content_type}, {len(item.content)} bytes)"
        for item in (*message.attachments, *message.inline_images)
    ]
    copies = "".join(
        _recipient_section(message, recipient, provider, control)
        for recipient in message.recipients
    )
    rows = _rows({"From": message.from_email, "Template": message.template_id, "Files": files})
    title = f"{provider.esp_name}: {message.recipients[0].subject or '(no subject)'}"
    return f"<article><h2>{escape(title)}</h2><table>{rows}</table>{copies}</article>"


def _recipient_section(
    message: StoredMessage, recipient: StoredRecipient, provider: Provider, control: str
) -> str:
    rows = _rows(
        {
            recipient.kind.capitalize(): recipient.mailbox,
            "Message id": recipient.message_id,
            "Headers": [f"{name}: {value}" for name, value in recipient.headers.items()],
            "Tags": list(recipient.tags),
            "Metadata": [f"{name} = {value}" for name, value in recipient.metadata.items()],
            "Merge data": [f"{name} = {value}" for name, value in recipient.merge_data.items()],
        }
    )
    message_id = quote(recipient.message_id, safe="")
    events = sorted(provider.events) + (["inbound"] if provider.receives_mail else [])
    buttons = " ".join(
        f'<form method=post action="/{control}/{message.provider}/{message_id}/{event}'
        f'?recipient={quote(recipient.address, safe="")}"><button>{event}</button></form>'
        for event in events
    )
    return (
        f"<hr><table>{rows}</table><pre>{escape(recipient.text or recipient.html)}</pre>{buttons}"
    )


def _rows(values: Mapping[str, Any]) -> str:
    return "".join(
        f"<tr><th>{escape(name)}<td>"
        + "<br>".join(escape(str(item)) for item in (value if isinstance(value, list) else [value]))
        for name, value in values.items()
        if value
    )

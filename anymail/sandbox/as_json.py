"""What the sandbox has received, as JSON data for scripts."""

from __future__ import annotations

from typing import Any

from .store import StoredAttachment, StoredMessage, StoredRecipient


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

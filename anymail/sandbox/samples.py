"""The messages that the demonstration sends: the same ones through each provider."""

from __future__ import annotations

import base64

from ..message import UNSET, AnymailMessage
from .providers import Provider
from .store import StoredAttachment, StoredTemplate

SHOP_NAME = "Zoë's Café, Brno"  # a comma, so that it must be quoted
SHOP = f'"{SHOP_NAME}" <shop@háj.example>'
ZOFIE = "Žofie Nováková <zofie@háj.example>"
ANN = "Ann <ann@example.com>"
BOREK = "Bořek <borek@háj.example>"

RECEIPT = "položka;cena\nkáva;65\n"
LOGO = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAIAQAAAADsdIMmAAAAFUlEQVR42mM4zLCXIYqhDojTgKzDACTQ"
    "BJmbSLVQAAAAAElFTkSuQmCC"
)
"""A PNG image: a face that smiles, 8 by 8 pixels."""

TEMPLATE = StoredTemplate(
    subject="Hello {{first}}, {{points}} points are waiting",
    text="Dear {{first}},\nyou have {{points}} points. {{shop}}\n",
    html="<p>Dear {{first}},</p><p>you have {{points}} points. <b>{{shop}}</b></p>",
)
MERGE_DATA = {
    "ann@example.com": {"first": "Ann", "points": "12"},
    "borek@háj.example": {"first": "Bořek", "points": "345"},
}
MERGE_METADATA = {
    "ann@example.com": {"user": "1001"},
    "borek@háj.example": {"user": "1002"},
}

REPLY_TEXT = "Díky! Přijdu v úterý."
REPLY_ATTACHMENT = StoredAttachment(
    "přání.txt", "text/plain; charset=utf-8", "Ještě jednu kávu, prosím.\n".encode()
)


def html_message(provider: Provider) -> AnymailMessage:
    """Return an HTML message with an inline image and an attachment, Unicode everywhere."""
    message = AnymailMessage(
        subject="Účtenka č. 4711",
        body="Děkujeme za nákup.\n",
        from_email=SHOP,
        to=[ZOFIE],
    )
    logo = ""
    if "inline_images" not in provider.unsupported:
        content_id = message.attach_inline_image(LOGO, filename="logo.png")
        logo = f'<img src="cid:{content_id}" alt="Logo"> '
    message.attach_alternative(f"<p>{logo}Děkujeme za nákup.</p>", "text/html")
    message.attach("účtenka.csv", RECEIPT, "text/csv")
    return without_unsupported(message, provider)


def tracked_message(provider: Provider) -> AnymailMessage:
    """Return a message with tags, metadata, and tracking."""
    message = AnymailMessage(
        subject="Your order 4711",
        body="It is on its way: https://shop.example.com/4711\n",
        from_email=SHOP,
        to=[ZOFIE],
        tags=["order"],
        metadata={
            "order": "4711",
            "name": "Zofie" if "non_ascii_metadata" in provider.unsupported else "Žofie",
        },
        track_opens=True,
        track_clicks=True,
    )
    message.attach_alternative(
        '<p>It is <a href="https://shop.example.com/4711">on its way</a>.</p>', "text/html"
    )
    return without_unsupported(message, provider)


def batch_message(provider: Provider) -> AnymailMessage:
    """Return a message to two recipients that don't see each other, from a stored template."""
    message = AnymailMessage(
        subject="",
        body="",
        from_email=SHOP,
        to=[ANN, BOREK],
        template_id=provider.template_id,
        merge_data=MERGE_DATA,
        merge_global_data={"shop": "Zoë's Café"},
        metadata={"run": "w7"},
        merge_metadata=MERGE_METADATA,
        esp_extra=dict(provider.batch_esp_extra),
    )
    if "template_id" in provider.unsupported:
        message.subject, message.body = "Your points", "They are waiting.\n"
    message = without_unsupported(message, provider)
    if not provider.has_batches:
        message.merge_metadata = MERGE_METADATA
    return message


def without_unsupported(message: AnymailMessage, provider: Provider) -> AnymailMessage:
    """Return the message without what the provider has no equivalent for."""
    for attribute in provider.unsupported:
        setattr(message, attribute, UNSET)
    return message

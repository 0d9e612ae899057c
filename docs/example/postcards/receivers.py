"""What the provider's webhooks tell us goes into the database."""

from django.dispatch import receiver
from django.utils import timezone

from anymail.signals import inbound, tracking

from .models import Event, Reply


@receiver(tracking)
def save_event(sender, event, esp_name, **kwargs):
    Event.objects.create(
        message_id=event.message_id or "",
        type=event.event_type,
        recipient=event.recipient or "",
        timestamp=event.timestamp or timezone.now(),
        details=event.click_url or event.mta_response or event.description or "",
    )


@receiver(inbound)
def save_reply(sender, event, esp_name, **kwargs):
    message = event.message
    Reply.objects.create(
        sender=message.from_email.addr_spec if message.from_email else "",
        subject=message.subject or "",
        # Without the quoted postcard, if the provider can tell it from the reply.
        text=message.stripped_text or message.text or "",
        attachments=[attachment.get_filename() or "?" for attachment in message.attachments],
    )

from django.db import models
from django.utils import timezone


class Postcard(models.Model):
    """A message that we have sent."""

    to = models.EmailField("To")
    subject = models.CharField(max_length=200, default="Greetings")
    text = models.TextField("Your message")
    sent_at = models.DateTimeField(default=timezone.now)
    message_id = models.CharField(max_length=200, db_index=True)
    status = models.CharField(max_length=20)

    class Meta:
        ordering = ["-sent_at"]

    def __str__(self):
        return f"{self.subject} to {self.to}"

    @property
    def events(self):
        return Event.objects.filter(message_id=self.message_id)


class Event(models.Model):
    """What the provider tells about a message that we have sent."""

    # Not a ForeignKey: the provider can be faster than the view that saves the postcard.
    message_id = models.CharField(max_length=200, db_index=True)
    type = models.CharField(max_length=20)
    recipient = models.EmailField()
    timestamp = models.DateTimeField()
    details = models.TextField()

    class Meta:
        ordering = ["timestamp", "pk"]

    def __str__(self):
        return f"{self.type}: {self.recipient}"


class Reply(models.Model):
    """A message that we have received."""

    sender = models.EmailField()
    subject = models.CharField(max_length=998)
    text = models.TextField()
    attachments = models.JSONField(default=list)
    received_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-received_at"]
        verbose_name_plural = "replies"

    def __str__(self):
        return f"{self.subject} from {self.sender}"

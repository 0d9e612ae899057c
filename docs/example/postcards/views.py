from django import forms
from django.conf import settings
from django.shortcuts import redirect, render
from django.utils.html import format_html

from anymail.exceptions import AnymailError
from anymail.message import AnymailMessage

from .models import Postcard, Reply


class PostcardForm(forms.ModelForm):
    class Meta:
        model = Postcard
        fields = ["to", "subject", "text"]
        widgets = {"text": forms.Textarea({"rows": 4})}


def index(request):
    form = PostcardForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        postcard = form.save(commit=False)
        try:
            send(postcard)
        except AnymailError as error:
            # In production, log it: users can't do anything about most errors.
            form.add_error(None, str(error))
        else:
            postcard.save()
            return redirect("index")
    context = {
        "form": form,
        "postcards": Postcard.objects.all(),
        "replies": Reply.objects.all(),
        "provider": settings.PROVIDER,
    }
    return render(request, "postcards/index.html", context)


def send(postcard):
    """Send a postcard, and keep what the provider says."""
    message = AnymailMessage(
        subject=postcard.subject,
        body=postcard.text,
        to=[postcard.to],
        tags=["postcard"],
    )
    html = format_html(
        '<p style="white-space: pre-line">{}</p><p><a href="{}">Sent with Anymail</a></p>',
        postcard.text,
        "https://www.example.com/postcards",
    )
    message.attach_alternative(html, "text/html")
    message.send()

    status = message.anymail_status.recipients[postcard.to]
    postcard.message_id = status.message_id or ""
    postcard.status = status.status or "unknown"

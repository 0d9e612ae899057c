"""What providers know of webhooks: where to enter them, and their APIs to read and change them.

Each provider of anymail.providers has a module here, with a subclass of
:class:`~anymail.webhook_apis.base.WebhookAPI`. It's for ``manage.py anymail_webhooks``: neither
sending nor receiving needs any of it.
"""

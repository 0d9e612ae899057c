"""Settings for development. By default, messages go to the sandbox, not to a provider."""

import os
from pathlib import Path

import django

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = True
SECRET_KEY = "change this before anybody else can reach your site"
# Your providers' webhooks come to the name that your site has for them.
ALLOWED_HOSTS = ["127.0.0.1", "localhost", *os.environ.get("ALLOWED_HOSTS", "").split()]

INSTALLED_APPS = ["anymail", "postcards"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "postcards.urls"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]

DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"},
}
# All processes of the site share it, and it has room for the events of some days: what it takes to
# recognize those that a provider repeats.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "cache",
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TIME_ZONE = "UTC"
USE_TZ = True

# -- Mail ------------------------------------------------------------------------------------

# The module of the provider's backend, such as "mailgun" or "amazon_ses".
PROVIDER = os.environ.get("PROVIDER", "postmark")

backend = f"anymail.backends.{PROVIDER}.EmailBackend"
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": backend}}
else:
    EMAIL_BACKEND = backend

# From the environment: ANYMAIL_MAILGUN_API_KEY=... sets MAILGUN_API_KEY.
ANYMAIL = {
    name.removeprefix("ANYMAIL_"): value
    for name, value in os.environ.items()
    if name.startswith("ANYMAIL_")
}
if not ANYMAIL:
    # python -m anymail.sandbox serve --webhook-url http://127.0.0.1:8000/anymail/
    SANDBOX_URL = os.environ.get("SANDBOX_URL", "http://127.0.0.1:8035")
    ANYMAIL = {
        "POSTMARK_API_URL": f"{SANDBOX_URL}/postmark/",
        "POSTMARK_SERVER_TOKEN": "sandbox-server-token",
        "WEBHOOK_SECRET": "sandbox:webhook-secret",
    }
ANYMAIL |= {
    # Webhooks without a secret or a signature are refused.
    "REQUIRE_WEBHOOK_AUTH": True,
    # Providers repeat calls when in doubt: the second one about the same event is left out.
    "WEBHOOK_DEDUPE_CACHE": "default",
    # For all messages through Postmark. Not every provider can track opens and clicks.
    "POSTMARK_SEND_DEFAULTS": {"track_opens": True, "track_clicks": True},
}

DEFAULT_FROM_EMAIL = os.environ.get("DEFAULT_FROM_EMAIL", "Postcards <postcards@example.com>")
SERVER_EMAIL = DEFAULT_FROM_EMAIL

from .base import *

# Reading EMAIL_BACKEND warns unless there is a MAILERS setting.
MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}

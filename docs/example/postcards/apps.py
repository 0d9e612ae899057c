from django.apps import AppConfig


class PostcardsConfig(AppConfig):
    name = "postcards"

    def ready(self):
        from . import receivers  # noqa: F401  (connects them to Anymail's signals)

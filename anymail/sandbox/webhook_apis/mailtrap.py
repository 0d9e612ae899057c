"""Mailtrap: https://docs.mailtrap.io/developers/webhooks"""

from __future__ import annotations

from ..wire import ApiRequest, ApiResponse
from . import base


class Webhooks(base.Webhooks):
    """Webhooks of all types."""

    routes = {"GET api/webhooks": "list_all"}

    def has_key(self, request: ApiRequest) -> bool:
        tokens = (request.headers.get("Api-Token"), request.bearer)
        return any(self.provider.is_key(token, self.provider.api_token) for token in tokens)

    def error(self, text: str, status: int) -> ApiResponse:
        return ApiResponse.json({"error": text}, status)

    def list_all(self, request: ApiRequest) -> ApiResponse:
        return ApiResponse.json({"data": self.items})

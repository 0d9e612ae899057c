"""SparkPost: https://developers.sparkpost.com/api/webhooks/"""

from __future__ import annotations

from ..wire import ApiRequest, ApiResponse
from . import base


class Webhooks(base.Webhooks):
    """Webhooks, and ``inbound`` for relay webhooks."""

    routes = {"GET api/v1/webhooks": "list_all", "GET api/v1/relay-webhooks": "list_inbound"}

    def has_key(self, request: ApiRequest) -> bool:
        key = request.headers.get("Authorization")
        return bool(self.provider.is_key(key, self.provider.api_key))

    def list_all(self, request: ApiRequest) -> ApiResponse:
        return ApiResponse.json({"results": self.items})

    def list_inbound(self, request: ApiRequest) -> ApiResponse:
        return ApiResponse.json({"results": self.inbound})

"""Mailjet: https://dev.mailjet.com/email/reference/webhook/"""

from __future__ import annotations

from typing import Any

from ..wire import ApiRequest, ApiResponse
from . import base


class Webhooks(base.Webhooks):
    """One item for each event; ``inbound`` is parseroute."""

    routes = {"GET v3/REST/eventcallbackurl": "list_all", "GET v3/REST/parseroute": "list_inbound"}

    def has_key(self, request: ApiRequest) -> bool:
        user, password = request.basic_auth or (None, None)
        is_key = self.provider.is_key
        return bool(
            is_key(user, self.provider.api_key) and is_key(password, self.provider.secret_key)
        )

    def list_all(self, request: ApiRequest) -> ApiResponse:
        return _page(request, self.items)

    def list_inbound(self, request: ApiRequest) -> ApiResponse:
        return _page(request, self.inbound)


def _page(request: ApiRequest, items: list[dict[str, Any]]) -> ApiResponse:
    offset, limit = int(request.query.get("Offset", 0)), int(request.query.get("Limit", 10))
    page = items[offset : offset + limit]
    return ApiResponse.json({"Count": len(page), "Data": page, "Total": len(items)})

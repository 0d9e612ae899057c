"""Mailgun: https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/domain-webhooks"""

from __future__ import annotations

from ..wire import ApiRequest, ApiResponse
from . import base


class Webhooks(base.Webhooks):
    """``items`` have "domain", "id" (the type of event) and "urls"; ``inbound`` are the routes."""

    routes = {
        "GET v3/domains/([^/]+)/webhooks": "list_all",
        "GET v3/routes": "list_routes",
        "GET v5/accounts/http_signing_key": "get_key",
    }

    def has_key(self, request: ApiRequest) -> bool:
        user, key = request.basic_auth or ("", None)
        return user == "api" and bool(self.provider.is_key(key, self.provider.api_key))

    def list_all(self, request: ApiRequest, domain: str) -> ApiResponse:
        found = {
            item["id"]: {"urls": item["urls"]} for item in self.items if item["domain"] == domain
        }
        return ApiResponse.json({"webhooks": found})

    def list_routes(self, request: ApiRequest) -> ApiResponse:
        skip, limit = (
            int(request.query.get(name, value)) for name, value in (("skip", 0), ("limit", 100))
        )
        page = self.inbound[skip : skip + limit]
        return ApiResponse.json({"total_count": len(self.inbound), "items": page})

    def get_key(self, request: ApiRequest) -> ApiResponse:
        return ApiResponse.json({"http_signing_key": self.provider.webhook_signing_key})

"""Mandrill: https://mailchimp.com/developer/transactional/api/webhooks/"""

from __future__ import annotations

from ..wire import ApiRequest, ApiResponse
from . import base


class Webhooks(base.Webhooks):
    """Webhooks, and ``inbound`` for routes, which have a "domain"."""

    routes = {
        "POST api/1.4/webhooks/list": "list_all",
        "POST api/1.4/inbound/domains": "list_domains",
        "POST api/1.4/inbound/routes": "list_routes",
    }

    def has_key(self, request: ApiRequest) -> bool:
        return bool(self.provider.is_key(request.json().get("key"), self.provider.api_key))

    def list_all(self, request: ApiRequest) -> ApiResponse:
        return ApiResponse.json(self.items)

    def list_domains(self, request: ApiRequest) -> ApiResponse:
        domains = dict.fromkeys(item["domain"] for item in self.inbound)
        return ApiResponse.json([{"domain": domain, "valid_mx": True} for domain in domains])

    def list_routes(self, request: ApiRequest) -> ApiResponse:
        domain = request.json()["domain"]
        return ApiResponse.json([item for item in self.inbound if item["domain"] == domain])

"""SendGrid: https://www.twilio.com/docs/sendgrid/api-reference/webhooks"""

from __future__ import annotations

import uuid
from typing import Any

from ..wire import ApiRequest, ApiResponse
from . import base

_SETTINGS = "v3/user/webhooks/event/settings"
_EVENTS = (
    *("processed", "dropped", "deferred", "delivered", "bounce", "open", "click", "spam_report"),
    *("unsubscribe", "group_unsubscribe", "group_resubscribe"),
)
_FIELDS = ("url", "enabled", "friendly_name", *_EVENTS)


class Webhooks(base.Webhooks):
    """Event webhooks, and ``inbound`` for Inbound Parse."""

    routes = {
        f"GET {_SETTINGS}/all": "list_all",
        f"POST {_SETTINGS}": "create",
        rf"PATCH {_SETTINGS}/signed/([\w-]+)": "sign",
        rf"PATCH {_SETTINGS}/([\w-]+)": "update",
        "GET v3/user/webhooks/parse/settings": "list_inbound",
    }

    def error(self, text: str, status: int) -> ApiResponse:
        return ApiResponse.json({"errors": [{"message": text, "field": None}]}, status)

    def list_all(self, request: ApiRequest) -> ApiResponse:
        return ApiResponse.json({"max_allowed": 5, "webhooks": self.items})

    def list_inbound(self, request: ApiRequest) -> ApiResponse:
        return ApiResponse.json({"result": self.inbound})

    def create(self, request: ApiRequest) -> ApiResponse:
        data = base.only(request.json(), *_FIELDS)
        if any(item["url"] == data["url"] for item in self.items):
            return self.error("URL already exists", 400)
        item: dict[str, Any] = {"id": str(uuid.uuid4()), **dict.fromkeys(_EVENTS, False), **data}
        self.items.append(item)
        return ApiResponse.json(item, 201)

    def update(self, request: ApiRequest, id_: str) -> ApiResponse:
        item = self.find(id_)
        item |= base.only(request.json(), *_FIELDS)
        return ApiResponse.json(item)

    def sign(self, request: ApiRequest, id_: str) -> ApiResponse:
        item = self.find(id_)
        if base.only(request.json(), "enabled")["enabled"]:
            # Without the cryptography package, there is none.
            item["public_key"] = self.provider.verification_key or "no-public-key"
        return ApiResponse.json({"id": id_, "public_key": item.get("public_key")})

"""Postmark: https://postmarkapp.com/developer/api/webhooks-api"""

from __future__ import annotations

from typing import Any

from ..wire import ApiRequest, ApiResponse
from . import base

_TRIGGERS = ("Open", "Click", "Delivery", "Bounce", "SpamComplaint", "SubscriptionChange")


class Webhooks(base.Webhooks):
    """Webhooks of streams, and the server, which has ``inbound[0]``."""

    routes = {
        "GET webhooks": "list_all",
        "POST webhooks": "create",
        r"PUT webhooks/(\d+)": "update",
        "GET server": "server",
    }

    def has_key(self, request: ApiRequest) -> bool:
        token = request.headers.get("X-Postmark-Server-Token")
        return bool(self.provider.is_key(token, self.provider.server_token))

    def error(self, text: str, status: int) -> ApiResponse:
        return ApiResponse.json({"ErrorCode": 10, "Message": text}, status)

    def list_all(self, request: ApiRequest) -> ApiResponse:
        return ApiResponse.json({"Webhooks": self.items})

    def server(self, request: ApiRequest) -> ApiResponse:
        hooks = dict.fromkeys(("BounceHookUrl", "OpenHookUrl", "InboundHookUrl"), "")
        return ApiResponse.json({"ID": 1, "Name": "Sandbox", **hooks, **dict(*self.inbound)})

    def create(self, request: ApiRequest) -> ApiResponse:
        data = base.only(
            request.json(), "Url", "MessageStream", "HttpAuth", "HttpHeaders", "Triggers"
        )
        item = {
            "ID": self.next_id(),
            "MessageStream": "outbound",
            "HttpAuth": {"Username": None, "Password": None},
            "HttpHeaders": [],
            **data,
            "Triggers": self._triggers({}, data),
        }
        item["Url"]
        self.items.append(item)
        return ApiResponse.json(item)

    def update(self, request: ApiRequest, id_: str) -> ApiResponse:
        item = self.find(id_, "ID")
        data = base.only(request.json(), "Url", "HttpAuth", "HttpHeaders", "Triggers")
        item |= {**data, "Triggers": self._triggers(item["Triggers"], data)}
        return ApiResponse.json(item)

    @staticmethod
    def _triggers(old: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        new = base.only(data.get("Triggers", {}), *_TRIGGERS)
        return {name: new.get(name) or old.get(name) or {"Enabled": False} for name in _TRIGGERS}

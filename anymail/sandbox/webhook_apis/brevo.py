"""Brevo: https://developers.brevo.com/reference/get-webhooks"""

from __future__ import annotations

from ..wire import ApiRequest, ApiResponse
from . import base

_EVENTS = {
    *("sent", "request", "delivered", "hardBounce", "softBounce", "invalid", "blocked", "deferred"),
    *("spam", "opened", "uniqueOpened", "click", "unsubscribed"),
}
_FIELDS = ("url", "events", "description", "domain", "batched", "auth", "headers")


class Webhooks(base.Webhooks):
    """Webhooks of all types."""

    routes = {
        "GET v3/webhooks": "list_all",
        "POST v3/webhooks": "create",
        r"PUT v3/webhooks/(\d+)": "update",
    }

    def has_key(self, request: ApiRequest) -> bool:
        return bool(self.provider.is_key(request.headers.get("api-key"), self.provider.api_key))

    def error(self, text: str, status: int) -> ApiResponse:
        return ApiResponse.json({"code": "invalid_parameter", "message": text}, status)

    def list_all(self, request: ApiRequest) -> ApiResponse:
        type_ = request.query.get("type", "transactional")
        found = [item for item in self.items if item["type"] == type_]
        return ApiResponse.json({"webhooks": found})

    def create(self, request: ApiRequest) -> ApiResponse:
        data = base.only(request.json(), "type", "channel", *_FIELDS)
        item = {"id": self.next_id(), "type": "transactional", "channel": "email", **data}
        _check(item)
        self.items.append(item)
        return ApiResponse.json({"id": item["id"]}, 201)

    def update(self, request: ApiRequest, id_: str) -> ApiResponse:
        item = self.find(id_)
        item |= base.only(request.json(), *_FIELDS)
        _check(item)
        return ApiResponse(204)


def _check(item: dict[str, object]) -> None:
    events = item["events"]
    if not item["url"] or not isinstance(events, list):
        raise KeyError("url")
    if item["type"] == "transactional" and (unknown := set(events) - _EVENTS):
        raise KeyError(*unknown)

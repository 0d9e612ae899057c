"""Resend: https://resend.com/docs/api-reference/webhooks"""

from __future__ import annotations

import uuid
from typing import Any

from ..wire import ApiRequest, ApiResponse
from . import base

_PAGE = 20
_SECRET = "signing_secret"  # noqa: S105 (a name)


class Webhooks(base.Webhooks):
    """The list lacks the secrets."""

    routes = {
        "GET webhooks": "list_all",
        "POST webhooks": "create",
        r"GET webhooks/([\w-]+)": "get",
        r"PATCH webhooks/([\w-]+)": "update",
    }

    def error(self, text: str, status: int) -> ApiResponse:
        data = {"statusCode": status, "message": text, "name": "validation_error"}
        return ApiResponse.json(data, status)

    def list_all(self, request: ApiRequest) -> ApiResponse:
        ids = [item["id"] for item in self.items]
        start = ids.index(request.query["after"]) + 1 if "after" in request.query else 0
        end = start + min(int(request.query.get("limit", _PAGE)), 100)
        public = [
            {name: value for name, value in item.items() if name != _SECRET} for item in self.items
        ]
        has_more = end < len(ids)
        return ApiResponse.json(
            {"object": "list_all", "has_more": has_more, "data": public[start:end]}
        )

    def get(self, request: ApiRequest, id_: str) -> ApiResponse:
        return ApiResponse.json({"object": "webhook", **self.find(id_)})

    def create(self, request: ApiRequest) -> ApiResponse:
        data = base.only(request.json(), "endpoint", "events")
        item: dict[str, Any] = {
            "id": str(uuid.uuid4()),
            "status": "enabled",
            "endpoint": data["endpoint"],
            "events": data["events"],
            _SECRET: f"whsec_{uuid.uuid4().hex}",
        }
        self.items.append(item)
        answer = {"object": "webhook", "id": item["id"], _SECRET: item[_SECRET]}
        return ApiResponse.json(answer, 201)

    def update(self, request: ApiRequest, id_: str) -> ApiResponse:
        item = self.find(id_)
        item |= base.only(request.json(), "endpoint", "events", "status")
        return ApiResponse.json({"object": "webhook", "id": id_})

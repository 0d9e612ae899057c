"""MailerSend: https://developers.mailersend.com/api/v1/webhooks.html"""

from __future__ import annotations

from typing import Any

from ..wire import ApiRequest, ApiResponse
from . import base


class Webhooks(base.Webhooks):
    """Webhooks and inbound routes of ``domains``: id -> name. Items have a "domain_id"."""

    routes = {
        "GET v1/domains": "list_domains",
        "GET v1/webhooks": "list_all",
        "POST v1/webhooks": "create",
        r"PUT v1/webhooks/(\w+)": "update",
        "GET v1/inbound": "list_inbound",
    }

    def __init__(self, provider: Any) -> None:
        super().__init__(provider)
        self.domains = {"yv69oxl5kl785kw2": "example.com"}

    def has_key(self, request: ApiRequest) -> bool:
        return bool(self.provider.is_key(request.bearer, self.provider.api_token))

    def list_domains(self, request: ApiRequest) -> ApiResponse:
        domains = [{"id": id_, "name": name} for id_, name in self.domains.items()]
        return ApiResponse.json({"data": domains if request.query.get("page", "1") == "1" else []})

    def list_all(self, request: ApiRequest) -> ApiResponse:
        return self._of_domain(request, self.items)

    def list_inbound(self, request: ApiRequest) -> ApiResponse:
        return self._of_domain(request, self.inbound)

    def _of_domain(self, request: ApiRequest, items: list[dict[str, Any]]) -> ApiResponse:
        domain_id = request.query.get("domain_id")
        if domain_id not in self.domains:
            return self.error("The domain id field is required. #MS42209", 422)
        found = [item for item in items if item["domain_id"] == domain_id]
        return ApiResponse.json({"data": found, "links": {}, "meta": {}})

    def create(self, request: ApiRequest) -> ApiResponse:
        fields = ("url", "name", "events", "domain_id", "enabled", "version")
        data = base.only(request.json(), *fields)
        if data["domain_id"] not in self.domains:
            return self.error("The domain id field is required. #MS42209", 422)
        if any(item["url"] == data["url"] for item in self.items):
            text = "The url has already been taken."
            return ApiResponse.json({"message": text, "errors": {"url": [text]}}, 422)
        id_ = f"w{self.next_id()}"
        item = {"enabled": True, **data, "id": id_, "secret": f"secret-of-{id_}"}
        item["name"], item["events"]
        self.items.append(item)
        return ApiResponse.json({"data": item}, 201)

    def update(self, request: ApiRequest, id_: str) -> ApiResponse:
        item = self.find(id_)
        item |= base.only(request.json(), "url", "name", "events", "enabled", "version")
        return ApiResponse.json({"data": item})

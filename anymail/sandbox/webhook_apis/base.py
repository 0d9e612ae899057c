"""What the stand-ins have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ..wire import ApiRequest, ApiResponse, MalformedRequest

if TYPE_CHECKING:
    from ..providers import Provider


class Missing(Exception):
    """There is nothing with this id."""


class Webhooks:
    """The webhooks that are entered at a provider. Change ``items`` and ``inbound`` as you need."""

    routes: ClassVar[Mapping[str, str]] = {}
    """ "METHOD path", where the path is a regular expression -> name of the method that answers."""

    def __init__(self, provider: Provider) -> None:
        self.provider: Any = provider
        self.items: list[dict[str, Any]] = []
        """The webhooks, as the provider's API has them."""

        self.inbound: list[dict[str, Any]] = []
        """The inbound routes, if they are something else."""

    def handle(self, request: ApiRequest) -> ApiResponse | None:
        """Answer a call; None if it is another API's."""
        for route, name in self.routes.items():
            method, _, path = route.partition(" ")
            match = re.fullmatch(path, request.path)
            if match is None or method != request.method:
                continue
            try:
                if not self.has_key(request):
                    return self.error("unauthorized", 401)
                answer: ApiResponse = getattr(self, name)(request, *match.groups())
            except (AttributeError, KeyError, TypeError, MalformedRequest) as error:
                return self.error(f"invalid: {error}", 400)
            except Missing:
                return self.error("not found", 404)
            return answer
        return None

    def has_key(self, request: ApiRequest) -> bool:
        """Tell whether a call has the key that it takes."""
        return bool(self.provider.is_key(request.bearer, self.provider.api_key))

    def error(self, text: str, status: int) -> ApiResponse:
        """Return an error, as the provider has it."""
        return ApiResponse.json({"message": text}, status)

    def find(self, id_: str, name: str = "id") -> dict[str, Any]:
        """Return the webhook with an id. Raises Missing."""
        for item in self.items:
            if str(item[name]) == id_:
                return item
        raise Missing

    def next_id(self) -> int:
        """Return a new id."""
        return 1000 + len(self.items)


def only(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return the fields that can be given; raises KeyError for others."""
    if unknown := data.keys() - set(names):
        raise KeyError(*unknown)
    return dict(data)

"""Stand-ins for what is beyond the backends: API calls are recorded and answered."""

from __future__ import annotations

import copy
import email.parser
import email.policy
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from urllib.parse import parse_qs

import requests
from django.utils.module_loading import import_string

from ..utils import make_response

if TYPE_CHECKING:
    from .cases.base import BackendCase, Refusal


@dataclass
class ApiCall:
    """An HTTP request as it goes to the network."""

    request: requests.PreparedRequest
    timeout: Any = None

    @property
    def method(self) -> str:
        return str(self.request.method)

    @property
    def url(self) -> str:
        return str(self.request.url)

    @property
    def headers(self) -> Any:
        return self.request.headers

    @property
    def body(self) -> bytes:
        body = self.request.body
        return body.encode() if isinstance(body, str) else bytes(body or b"")

    @property
    def content_type(self) -> str:
        return str(self.headers.get("Content-Type", ""))

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def parts(self) -> list[tuple[str | None, str | None, str | None, bytes]]:
        """The parts of a multipart body: field name, filename, content type, content."""
        header = f"Content-Type: {self.content_type}\r\n\r\n".encode()
        parser = email.parser.BytesParser(policy=email.policy.HTTP)
        result = []
        for part in parser.parsebytes(header + self.body).iter_parts():
            disposition = part["Content-Disposition"]
            content_type = part["Content-Type"]
            content = part.get_payload(decode=True)
            if content is None:  # an attached message, which was parsed too
                content = part.get_payload(0).as_bytes()
            result.append(
                (
                    disposition.params.get("name"),
                    disposition.params.get("filename"),
                    content_type and str(content_type),
                    content,
                )
            )
        return result

    @property
    def form(self) -> dict[str, list[str]]:
        """The fields of a form, without files."""
        if self.content_type.startswith("multipart/"):
            fields: dict[str, list[str]] = {}
            for name, filename, _content_type, content in self.parts:
                if filename is None:
                    fields.setdefault(str(name), []).append(content.decode())
            return fields
        return parse_qs(self.body.decode(), keep_blank_values=True, strict_parsing=bool(self.body))

    def comparable(self) -> Any:
        """What must be the same in calls for the same message."""
        body: Any = self.body
        headers = {k: v for k, v in self.headers.items() if k != "Content-Length"}
        if self.content_type.startswith("multipart/"):
            # The boundary is random.
            headers["Content-Type"] = "multipart"
            body = self.parts
        elif "json" in self.content_type:
            body = self.json
        return self.method, self.url, headers, body


class Transport:
    """Takes the place of the API while it's entered.

    ``answer`` is what the API does next: the case's ``success`` if None; an exception to raise;
    something to return; or a function of the call that returns either.
    """

    def __init__(self, case: BackendCase) -> None:
        self.case = case
        self.calls: list[Any] = []
        self.answer: Any = None

    @contextmanager
    def entered(self) -> Iterator[None]:
        raise NotImplementedError

    def comparable(self, call: Any) -> Any:
        return call.comparable()

    def refuse(self, refusal: Refusal) -> None:
        """Have the API answer with an error."""
        raise NotImplementedError

    def _answer(self, call: Any) -> Any:
        self.calls.append(call)
        answer = self.case.success if self.answer is None else self.answer
        if callable(answer) and not isinstance(answer, type):
            answer = answer(call)
        if isinstance(answer, BaseException):
            raise answer
        return answer


class RequestsTransport(Transport):
    """For backends that use requests. Everything but the network is real."""

    @contextmanager
    def entered(self) -> Iterator[None]:
        def send(adapter: Any, request: Any, timeout: Any = None, **kwargs: Any) -> Any:
            response = self._answer(ApiCall(request, timeout))
            response.request = request
            response.url = request.url
            return response

        with patch("requests.adapters.HTTPAdapter.send", send):
            yield

    def refuse(self, refusal: Refusal) -> None:
        body, headers = refusal.filled_in
        if isinstance(body, str):
            response = make_response(refusal.status, body=body.encode(), content_type="text/html")
        else:
            response = make_response(refusal.status, json_data=body)
        response.headers.update(headers)
        self.answer = response


@dataclass
class BotoCall:
    """A call of a method of a boto3 client."""

    session: dict[str, Any]
    """Arguments of the session."""
    service: str
    client: dict[str, Any]
    """The client's arguments."""
    operation: str
    params: dict[str, Any]

    def comparable(self) -> Any:
        """What must be the same in calls for the same message."""
        client = {**self.client, "config": self.client["config"].user_agent_extra}
        params = copy.deepcopy(self.params)
        if "Content" in params:
            raw = params["Content"]["Raw"]
            raw["Data"] = _VARYING_MIME.sub(b"", raw["Data"])
        return self.session, self.service, client, self.operation, params


_VARYING_MIME = re.compile(rb"^(?:Date|Message-ID): .*$|={15}\d+==", re.MULTILINE)


class BotoTransport(Transport):
    """For backends that use boto3. Calls are checked as boto3 does; there is no network."""

    @contextmanager
    def entered(self) -> Iterator[None]:
        transport = self

        class Session:
            def __init__(self, **kwargs: Any) -> None:
                self.kwargs = kwargs

            def client(self, service: str, **kwargs: Any) -> BotoClient:
                return BotoClient(transport._answer, BotoCall(self.kwargs, service, kwargs, "", {}))

        with patch("boto3.session.Session", Session):
            yield

    def refuse(self, refusal: Refusal) -> None:
        from botocore.exceptions import ClientError

        metadata = {"HTTPStatusCode": refusal.status, "HTTPHeaders": dict(refusal.headers)}
        answer = {**refusal.body, "ResponseMetadata": metadata}
        self.answer = ClientError(answer, "SendEmail") if "Error" in answer else answer


class BotoClient:
    """Has the methods that the service's real client has."""

    def __init__(self, answer: Callable[[BotoCall], Any], call: BotoCall) -> None:
        self._get_answer = answer
        self._call = call

    def __getattr__(self, name: str) -> Any:
        from botocore.exceptions import ParamValidationError
        from botocore.validate import ParamValidator

        operations = _boto_operations(self._call.service)
        if name not in operations:
            raise AttributeError(name)

        def method(**params: Any) -> Any:
            report = ParamValidator().validate(params, operations[name].input_shape)
            if report.has_errors():
                raise ParamValidationError(report=report.generate_report())
            return self._get_answer(replace(self._call, operation=name, params=params))

        return method

    def close(self) -> None:
        self._get_answer = _closed


def _closed(call: BotoCall) -> Any:
    raise AssertionError("The client is closed")


@cache
def _boto_operations(service: str) -> dict[str, Any]:
    """Return the models of a service's operations, by the names of the client's methods."""
    import botocore.session
    from botocore import xform_name

    model = botocore.session.get_session().get_service_model(service)
    return {xform_name(name): model.operation_model(name) for name in model.operation_names}


class LocalTransport(Transport):
    """For backends that send nowhere: only records the messages that they would have sent."""

    @contextmanager
    def entered(self) -> Iterator[None]:
        backend_class: Any = import_string(self.case.backend)
        original = backend_class.post_to_esp

        def post_to_esp(backend: Any, payload: Any, message: Any) -> Any:
            response = original(backend, payload, message)
            self.calls.append(message)
            return response

        with patch.object(backend_class, "post_to_esp", post_to_esp):
            yield

    def comparable(self, call: Any) -> Any:
        params = dict(call.anymail_test_params)
        params["attachments"] = [vars(item) for item in params.get("attachments", [])]
        return params

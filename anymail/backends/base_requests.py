"""What email backends share whose provider's API is called with ``requests``."""

from __future__ import annotations

import asyncio
import copy
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urljoin

import requests
from django.core.mail import EmailMessage
from requests.utils import default_user_agent

from .._docs import docs_of_setting
from .._version import __version__
from ..conf import (
    configuration_error,
    declared_settings,
    get_anymail_setting,
    number,
    setting,
    setting_name,
)
from ..datastructures import UNSET
from ..exceptions import AnymailRequestsAPIError
from ..http import is_html_page, no_netrc, no_redirect
from ..masking import CREDENTIAL_NAME, MASK, mask_credentials, mask_urls, mask_urls_in_error
from ..message import AnymailRecipientStatus
from ..sending.journey import current_journey
from ..sending.problems import is_configuration_error
from ..sending.results import RecipientResults
from ..sending.shared_calls import PartOfResponse
from ..sending.steps import ApiCall
from ..sending.waiting import finish_in_thread, in_thread
from .base import AnymailBaseBackend, BasePayload

if TYPE_CHECKING:
    from ..sending.calls import CallsInLoop
    from ..sending.connections import watch_handover

DEFAULT_TIMEOUT = 30
"""Seconds, without a REQUESTS_TIMEOUT setting."""

# Other packages import these from here, too.
__all__ = [
    "DEFAULT_TIMEOUT",
    "AnymailBaseBackend",
    "AnymailRequestsBackend",
    "BasePayload",
    "RequestsPayload",
    "get_anymail_setting",
]

_ASYNC_HTTP = "anymail.sending.async_http"

# Nearly all calls of a backend have the same URL.
_join_url = lru_cache(urljoin)


def _note_default_timeout(backend: AnymailRequestsBackend) -> float:
    backend.has_default_timeout = True
    return DEFAULT_TIMEOUT


class AnymailRequestsBackend(AnymailBaseBackend):
    """Base of the email backends that call an HTTP API.

    ``api_url`` is the base URL of the API, with a "/" at its end. A class can declare it as a
    setting (:func:`anymail.conf.base_url` sees to the "/"), or give it to this one's ``__init__``.
    """

    _api_error_class = AnymailRequestsAPIError

    api_url: str

    has_default_timeout = False
    """Whether nobody has asked for another timeout, so that strategies may."""

    timeout: Any = setting(
        "For calls of the provider's API: seconds, a (connect, read) tuple of seconds, or ``None`` "
        "for no limit. Not for sending with Amazon SES.",
        name="requests_timeout",
        general=True,
        default_of=_note_default_timeout,
        default_text=f"``{DEFAULT_TIMEOUT}``",
        options=("timeout", "requests_timeout"),
    )
    connection_max_idle: float = setting(
        "How many seconds a connection to the provider is kept without use, for messages that are "
        "sent later; ``0`` to keep none. Not for Amazon SES.",
        general=True,
        default=30,
        kind=number(),
        none=False,
    )

    def __init__(self, api_url: Any = UNSET, **kwargs: Any) -> None:
        if "api_url" in declared_settings(type(self)):
            if api_url is not UNSET:
                kwargs["api_url"] = api_url
        elif api_url is not UNSET:
            self.api_url = api_url
        elif not hasattr(self, "api_url"):
            raise TypeError(f"{type(self).__qualname__} must have an api_url")
        super().__init__(**kwargs)
        self.session: requests.Session | None = None

    def open(self) -> bool | None:
        if self.session is not None:
            return False
        try:
            self.session = self.create_session()
        except Exception:
            if not self.fail_silently:
                raise
        else:
            if self.session.auth is None:
                self.session.auth = no_netrc
            self.session.get_redirect_target = no_redirect  # type: ignore[method-assign]
        return True

    def close(self) -> None:
        if self.session is None:
            return
        try:
            self.session.close()
        except requests.RequestException:
            if not self.fail_silently:
                raise
        finally:
            self.session = None

    def create_session(self) -> requests.Session:
        """Return a new requests Session.

        Override it to mount adapters (for example, one that retries) or to add headers.
        """
        # What connections take is imported for the first of them.
        from ..sending.connections import make_adapter

        session = requests.Session()
        session.headers["User-Agent"] = (
            f"django-anymail/{__version__}-{self.esp_name.lower()} {default_user_agent()}"
        )
        adapter = make_adapter(self.connection_max_idle)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        if self.debug_api_requests:
            session.hooks["response"].append(
                partial(self._dump_api_request, credentials=self._credentials())
            )
        return session

    @property
    def is_open(self) -> bool:
        return self.session is not None

    @property
    def call_seconds(self) -> float:
        if isinstance(self.timeout, (int, float)):
            return 2 * self.timeout  # to connect and to read
        if isinstance(self.timeout, tuple) and None not in self.timeout:
            return float(sum(self.timeout))
        return super().call_seconds

    def prepare_call(self, payload: Any) -> ApiCall:
        params = payload.get_request_params(self.api_url)
        params.setdefault("timeout", self.timeout)
        journey = current_journey(getattr(payload, "whole_message", None))
        if journey is not None and (time_left := journey.time_left) is not None:
            params["timeout"] = _at_most(time_left, params["timeout"])
        return ApiCall("request", **params)

    def make_call(self, call: ApiCall) -> requests.Response:
        """Make the request, and return the response.

        Raises AnymailRequestsAPIError if it's a redirect, or if there is none. In that case, the
        error is also an instance of the requests exception that caused it. Raises
        AnymailConfigurationError if there can't be such a call at all.
        """
        from ..sending.connections import watch_handover

        try:
            with watch_handover() as handover:
                response = self._make(call)
        except requests.RequestException as err:
            self._raise_for(err, call, handover)
        return self._checked(response)

    def _make(self, call: ApiCall) -> requests.Response:
        if call.function == "request":
            from ..sending import lean

            return lean.request(self.session, call.params)
        response: requests.Response = call.make(self.session)
        return response

    def _calls_in_loop(self) -> CallsInLoop | None:
        usual: Any = AnymailRequestsBackend
        cls: Any = type(self)
        assert self.session is not None  # It's open.
        if cls.create_session is not usual.create_session or cls.make_call is not usual.make_call:
            return None
        from ..sending import lean

        # (A URL of another kind is an error of each message.)
        with suppress(requests.exceptions.InvalidSchema):
            if lean.is_intercepted(self.session, self.api_url):
                return None
        from ..sending.calls import CallsInLoop

        if _ASYNC_HTTP not in sys.modules:
            in_thread(import_module, _ASYNC_HTTP)  # It takes a while.
        return CallsInLoop(self._make_in_loop)

    async def _make_in_loop(self, call: ApiCall) -> requests.Response:
        """Do what make_call() does, in an event loop."""
        from ..sending import async_http, lean
        from ..sending.connections import watch_handover

        session: Any = self.session
        handover = watch_handover()
        try:
            request = lean.prepare(session, call.params)
            environment = lean.environment(session, str(request.url), call.params)
            if not async_http.can_send(session, request, environment):
                return await finish_in_thread(self.make_call, call)
            response = await async_http.send(
                session,
                request,
                environment,
                timeout=call.params.get("timeout"),
                max_idle=self.connection_max_idle,
                handover=handover,
            )
        except AnymailRequestsAPIError:  # of make_call()
            raise
        except requests.RequestException as err:
            self._raise_for(err, call, handover)
        except asyncio.CancelledError as err:
            text = "The task was canceled that was posting to {}"
            error = self._call_error(text, AnymailRequestsAPIError, call, handover)
            error.is_canceled = True
            raise error from err
        return self._checked(response)

    def _checked(self, response: requests.Response) -> requests.Response:
        if 300 <= response.status_code < 400:
            raise self._redirect_error(response)
        return response

    def _raise_for(
        self, err: requests.RequestException, call: ApiCall, handover: watch_handover
    ) -> NoReturn:
        """Raise what is to be raised for a call without an answer."""
        if isinstance(err, requests.exceptions.InvalidHeader):
            # Its text has the header's value, which can be an API key.
            raise self._settings_error("a header is invalid. Is there a line break?") from None
        mask_urls_in_error(err)
        if is_configuration_error(err):
            raise self._settings_error(str(err)) from err
        error_class = AnymailRequestsAPIError.combined_with(type(err))
        raise self._call_error("Error posting to {}:", error_class, call, handover) from err

    def _call_error(
        self,
        text: str,
        error_class: type[AnymailRequestsAPIError],
        call: ApiCall,
        handover: watch_handover,
    ) -> AnymailRequestsAPIError:
        url = mask_urls(call.params.get("url", "<missing url>"))
        error = error_class(text.format(url), backend=self)
        error.handed_over = handover.happened
        return error

    def _settings_error(self, text: str) -> Exception:
        name = setting_name("api_url", self.esp_name)
        return configuration_error(
            f"{self.esp_name}'s API can't be called with these settings, such as {name}: {text}",
            docs_of_setting(name),
            None if self.alias is None else {"alias": self.alias},
        )

    def _redirect_error(self, response: requests.Response) -> AnymailRequestsAPIError:
        target = response.headers.get("Location")
        if not target:
            return AnymailRequestsAPIError(response=response, backend=self)
        return AnymailRequestsAPIError(
            f"{self.esp_name} API call was redirected to {mask_urls(target)!r:.500}, which is not "
            f"followed. Is {setting_name('api_url', self.esp_name)} right?",
            response=response,
            backend=self,
        )

    def raise_for_status(
        self, response: requests.Response, payload: Any, message: EmailMessage
    ) -> None:
        """Raise AnymailRequestsAPIError if the HTTP status is not 2xx, or for an HTML page.

        Not if the answer says that the message was sent before, with the same idempotency key.

        Override it for providers whose errors can be told better. Redirects don't come here: they
        are errors with all providers.
        """
        if response.status_code < 200 or response.status_code >= 300:
            if self.was_sent_before(response, payload):
                return
            raise self.response_error(None, response, payload, message)
        if not isinstance(response, PartOfResponse) and is_html_page(response):
            message.anymail_status.esp_response = response  # type: ignore[attr-defined]
            raise self.response_error(
                f"{self.esp_name} API call was answered with an HTML page. "
                f"Is {setting_name('api_url', self.esp_name)} right?",
                response,
                payload,
                message,
            )

    def forget_call(self, response: requests.Response) -> None:
        if getattr(response, "request", None) is not None:
            response.request = copy.copy(response.request)  # Tests may have kept the original.
            response.request.body = None

    def deserialize_json_response(
        self, response: requests.Response, payload: Any, message: EmailMessage
    ) -> Any:
        """Return the response's JSON. Raises AnymailRequestsAPIError if it's something else."""
        try:
            return response.json()
        except (ValueError, RecursionError) as err:
            raise self.response_error(
                f"Invalid JSON in {self.esp_name} API response", response, payload, message
            ) from err

    def response_error(
        self,
        text: str | None,
        response: requests.Response,
        payload: Any,
        message: EmailMessage,
        recipients: Mapping[str, AnymailRecipientStatus] | None = None,
    ) -> AnymailRequestsAPIError:
        """Return the exception to raise for an answer that is not what it should be.

        It describes the answer, after the text, if any. ``recipients`` are those whose status the
        answer tells all the same.
        """
        return AnymailRequestsAPIError(
            *([] if text is None else [text]),
            email_message=message,
            payload=payload,
            response=response,
            backend=self,
            recipients=recipients,
        )

    def invalid_response_format(
        self,
        response: requests.Response,
        payload: Any,
        message: EmailMessage,
        recipients: Mapping[str, AnymailRecipientStatus] | None = None,
    ) -> AnymailRequestsAPIError:
        """Return the exception to raise for JSON that lacks what the API promises.

        ``recipients`` are those whose status it tells all the same.
        """
        return self.response_error(
            f"Invalid {self.esp_name} API response format", response, payload, message, recipients
        )

    def checked_statuses(
        self,
        results: RecipientResults,
        response: requests.Response,
        payload: Any,
        message: EmailMessage,
    ) -> dict[str, AnymailRecipientStatus]:
        """Return the recipients' statuses.

        If some of the results are malformed, raises invalid_response_format with the others'
        statuses.
        """
        if results.problem is None:
            return results.statuses
        raise self.invalid_response_format(
            response, payload, message, results.known()
        ) from results.problem

    @staticmethod
    def _dump_api_request(
        response: requests.Response, *, credentials: Iterable[str] = (), **kwargs: Any
    ) -> None:
        """Print an API call and its answer, without the credentials (a requests hook)."""
        request = response.request
        dump = "\n".join(
            [
                "",
                "===== Anymail API request",
                f"{request.method} {mask_urls(str(request.url))}",
                *_header_lines(request.headers),
                "",
                *([] if request.body is None else [_as_text(request.body)]),
                "",
                "----- Response",
                f"HTTP {response.status_code} {response.reason}",
                *_header_lines(response.headers),
                "",
                _as_text(response.text),
            ]
        )
        print(mask_credentials(dump, credentials))


def _at_most(seconds: float, timeout: Any) -> Any:
    """Return a timeout, as requests has it, that is no longer than so many seconds."""
    seconds = max(seconds, 0.001)  # 0 is none, for urllib3
    if isinstance(timeout, tuple):
        return tuple(seconds if part is None else min(part, seconds) for part in timeout)
    return min(timeout, seconds) if isinstance(timeout, (int, float)) else seconds


def _header_lines(headers: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: {MASK if CREDENTIAL_NAME.search(name) else mask_urls(_as_text(value))}"
        for name, value in headers.items()
    ]


def _as_text(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.replace("\r\n", "\n")


class RequestsPayload(BasePayload):
    """Base of the payloads for HTTP APIs.

    Holds the parameters of the call under the names that requests uses; init_payload and the
    ``set_...`` methods can replace them.
    """

    def __init__(
        self,
        message: EmailMessage,
        defaults: Mapping[str, Any],
        backend: AnymailRequestsBackend,
        method: str = "POST",
        params: Any = None,
        data: Any = None,
        headers: Any = None,
        files: Any = None,
        auth: Any = None,
    ) -> None:
        self.method = method
        self.params = params
        self.data = data
        self.headers = headers
        self.files = files
        self.auth = auth
        super().__init__(message, defaults, backend)

    def get_request_params(self, api_url: str) -> dict[str, Any]:
        """Return the keyword arguments of requests.Session.request."""
        api_endpoint = self.get_api_endpoint()
        url = api_url if api_endpoint is None else _join_url(api_url, api_endpoint)
        return {
            "method": self.method,
            "url": url,
            "params": self.params,
            "data": self.serialize_data(),
            "headers": self.headers,
            "files": self.files,
            "auth": self.auth,
        }

    def get_api_endpoint(self) -> str | None:
        """Return the path of the call, relative to the backend's api_url; None for that itself.

        It can depend on the message: all attributes are processed before.
        """
        return None

    def serialize_data(self) -> Any:
        """Return the body of the call. Override it to serialize, or for work that comes last."""
        return self.data

    # -- Calls that different messages share: see the backend's shared_call -------------------

    def shared_endpoint(self) -> str | None:
        """Return the path of the call that this message can share with others.

        None if it must have a call of its own. (A message that takes several must.)
        """
        return None

    def shared_trait(self) -> Any:
        """Return what the messages in a call must have in common, besides URL and headers."""
        return None

    def shared_item(self, data: Any) -> str | None:
        """Return the message's JSON in a shared call; None if it can't be there.

        ``data`` is the body of a call of its own.
        """
        return data if isinstance(data, str) else None

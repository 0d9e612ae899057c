"""Settings: how classes declare those that they use, and where their values are looked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence, Set
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Literal, TypeVar, overload
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import django
from django.conf import LazySettings, Settings, UserSettingsHolder, global_settings, settings

from ._docs import docs_of_setting
from .datastructures import UNSET

T = TypeVar("T")

DJANGO_HAS_MAILERS = django.VERSION >= (6, 1)

# Django before 6.1 passes these as None from send_mail, which must not hide a setting.
_NONE_MEANS_NOT_GIVEN = frozenset({"username", "password"})


@lru_cache(maxsize=1024)  # Each backend and each call of a webhook asks for dozens.
def setting_name(name: str, esp_name: str | None = None) -> str:
    """Return the key of an option in ``settings.ANYMAIL``, such as ``MAILGUN_API_KEY``."""
    if esp_name is None:
        return name.upper()
    return f"{esp_name}_{name}".upper().replace(" ", "_")


def get_anymail_setting(
    name: str,
    default: Any = UNSET,
    esp_name: str | None = None,
    kwargs: MutableMapping[str, Any] | None = None,
    allow_bare: bool = False,
) -> Any:
    """Return an Anymail option.

    The first that is found of: ``kwargs[name]`` (which is removed from kwargs),
    ``settings.ANYMAIL["ESP_NAME"]``, ``settings.ANYMAIL_ESP_NAME``, ``settings.ESP_NAME`` (only
    with allow_bare), and the default.

    Raises AnymailConfigurationError naming the settings that would help if there is no default;
    AnymailInvalidMailer naming the option if kwargs come from Django's ``MAILERS`` (recognized by
    the mailer's "alias" in them).
    """
    setting = setting_name(name, esp_name)
    value = _take_option((name,), kwargs)
    if value is UNSET:
        value = _ProjectSettings().find(setting, allow_bare)
    if value is UNSET:
        value = default
    if value is UNSET:
        raise _missing(name, setting, kwargs, allow_bare, docs_of_setting(setting))
    return value


def _take_option(options: Iterable[str], kwargs: MutableMapping[str, Any] | None) -> Any:
    """Remove options from kwargs, and return the first of them; UNSET if there is none."""
    found: Any = UNSET
    for name in options:
        value = UNSET if kwargs is None else kwargs.pop(name, UNSET)
        if value is None and name in _NONE_MEANS_NOT_GIVEN:
            continue
        if found is UNSET:
            found = value
    return found


def project_settings() -> Mapping[str, Any]:
    """Return ``settings.ANYMAIL``, or an empty dict. Raises AnymailConfigurationError for others.

    (Such as a tuple: it only takes a comma after the dict.)
    """
    value: Any = getattr(settings, "ANYMAIL", None) or {}
    if not isinstance(value, (dict, Mapping)):
        raise configuration_error(
            f"ANYMAIL must be a dict, not a {type(value).__name__}.", "installation#setting-styles"
        )
    return value


def mailers_setting() -> Mapping[str, Mapping[str, Any]]:
    """Return the settings of the project's mailers, by alias.

    They are those of Django's MAILERS setting from Django 6.1 on, and before that those of
    ``ANYMAIL["MAILERS"]``.
    """
    if DJANGO_HAS_MAILERS:
        return getattr(settings, "MAILERS", None) or {}
    return project_settings().get("MAILERS") or {}


class _ProjectSettings:
    """The project's settings as they are now, for those who look for several of Anymail's."""

    def __init__(self) -> None:
        self._anymail = project_settings()
        is_usual = type(settings) is LazySettings
        # Otherwise, a package has put something else in its place.
        self._all: Any = settings._wrapped if is_usual else settings  # type: ignore[misc]

    def find(self, setting: str, allow_bare: bool = False) -> Any:
        """Return the setting with a key in ``settings.ANYMAIL``; UNSET if there is none."""
        if setting in self._anymail:
            return self._anymail[setting]
        value = self._find_name(f"ANYMAIL_{setting}")
        if value is UNSET and allow_bare:
            return self._find_name(setting)
        return value

    def find_names(self, names: Set[str]) -> Set[str]:
        """Return which of the names ``settings.ANYMAIL`` or settings have, or may have."""
        found = names & self._anymail.keys()
        layer = self._all
        while type(layer) is UserSettingsHolder:
            found |= names & vars(layer).keys()
            layer = layer.default_settings
        is_known = type(layer) is Settings or layer is global_settings
        return found | (names & vars(layer).keys() if is_known else names)

    def _find_name(self, name: str) -> Any:
        """Return ``getattr(settings, name, UNSET)``, soon if there is nothing, as nearly always.

        (Django's settings raise several exceptions to say so, for each of some twenty names that a
        backend looks for.)
        """
        layer = self._all
        while type(layer) is UserSettingsHolder:
            values = vars(layer)
            if name in values:
                return values[name]
            if name in values["_deleted"]:
                return UNSET
            layer = layer.default_settings
        if type(layer) is Settings:
            return vars(layer).get(name, UNSET)
        return getattr(layer, name, UNSET)


def _missing(
    option: str, setting: str, kwargs: Mapping[str, Any] | None, allow_bare: bool, docs: str
) -> Exception:
    if kwargs is not None and "alias" in kwargs:
        return configuration_error(f"OPTIONS must define '{option}'.", docs, kwargs)
    choices = f"ANYMAIL = {{'{setting}': ...}} or ANYMAIL_{setting}"
    if allow_bare:
        choices += f" or {setting}"
    return configuration_error(f"You must set {choices} in your Django settings.", docs, kwargs)


def configuration_error(text: str, docs: str, kwargs: Mapping[str, Any] | None = None) -> Exception:
    """Return the exception for a mistake in a setting, or in the MAILERS entry kwargs are from."""
    # Imported when needed: exceptions pull in the HTTP library, and reading settings should not.
    from .exceptions import AnymailConfigurationError, AnymailInvalidMailer

    if kwargs is not None and "alias" in kwargs:
        return AnymailInvalidMailer(text, alias=kwargs["alias"], docs=docs)
    return AnymailConfigurationError(text, docs=docs)


# -- Declarations -----------------------------------------------------------------------------


class Setting:
    """A setting that a class declares with :func:`setting`, as an attribute.

    Checks and documentation are made of what :func:`declared_settings` finds; looked up in the
    class, it is the default. In instances, :func:`read_settings` puts the value in its place,
    unless there is no option for it. A subclass can have a plain value, which counts unless there
    is an option, or it is empty.
    """

    def __init__(
        self,
        help: str,  # noqa: A002 (as in argparse and Django's models)
        *,
        name: str = "",
        default: Any = UNSET,
        default_of: Callable[[Any], Any] | None = None,
        default_text: str = "",
        required: bool | Literal["later"] = False,
        kind: Callable[[Any], Any] | None = None,
        bare: bool = False,
        general: bool = False,
        none: bool = True,
        options: Sequence[str] | None = None,
        sandbox: str | None = None,
    ) -> None:
        self.help = help
        self.name = name
        self.default = default
        self.default_of = default_of
        self.default_text = default_text
        self.required = required
        self.kind = kind
        self.bare = bare
        self.general = general
        self.none = none
        self.options: Sequence[str] = options or ()
        """The names of the option; those of keyword arguments. The first one counts."""
        self._has_usual_option = options is None
        self.sandbox = sandbox
        self.attribute = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name
        self.name = self.name or name
        if self._has_usual_option:
            self.options = (name,)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return None if self.default is UNSET else self.default
        # Without read_settings (or before it), so without options.
        value = self.read(instance)
        if self.options:
            vars(instance)[self.attribute] = value
        return value

    def full_name(self, owner: Any) -> str:
        """Return the key in ``settings.ANYMAIL``. The owner is an instance or class."""
        return setting_name(self.name, None if self.general else owner.esp_name)

    def docs(self, owner: Any) -> str:
        """Return where the documentation describes it."""
        full_name = self.full_name(owner)
        return f"settings#setting-{full_name}" if self.general else docs_of_setting(full_name)

    def fixed_default(self) -> Any:
        """Return what ``read`` does where there is no setting; _nothing if that isn't one value."""
        if self.required is True or self.bare or self.default_of or self.sandbox is not None:
            return _nothing
        value = self.default
        if self.kind is not None and value is not UNSET and not (value is None and self.none):
            try:
                value = self.kind(value)
            except ValueError:
                return _nothing
        is_fixed = value is UNSET or isinstance(value, (str, int, float, type(None)))
        return value if is_fixed else _nothing

    def read(
        self,
        owner: Any,
        kwargs: MutableMapping[str, Any] | None = None,
        override: Any = UNSET,
        project: _ProjectSettings | None = None,
    ) -> Any:
        """Return the value for an instance, from kwargs (which lose it), ``override`` or settings.

        Raises AnymailConfigurationError or AnymailInvalidMailer naming the setting or option if it
        is required and missing, or not as it must be.
        """
        full_name = self.full_name(owner)
        value = _take_option(self.options, kwargs) if kwargs else UNSET
        if value is UNSET:
            value = override
        if value is UNSET:
            value = (project or _ProjectSettings()).find(full_name, self.bare)
        if value is UNSET and self.sandbox is not None and (sandbox := sandbox_url()) is not None:
            value = f"{sandbox}/{self.sandbox}"
        if value is UNSET and self.required is not True:
            value = self.default if self.default_of is None else self.default_of(owner)
        if self.kind is not None and value is not UNSET and not (value is None and self.none):
            try:
                value = self.kind(value)
            except ValueError as error:
                text, docs = f"{full_name} {error}.", self.docs(owner)
                # Not from the error: its traceback has the value.
                raise configuration_error(text, docs, kwargs) from None
        if self.required is True and _is_empty(value):
            option = self.options[0] if self.options else full_name
            raise _missing(option, full_name, kwargs, self.bare, self.docs(owner))
        return value


@overload
def setting(help: str, *, kind: Callable[[Any], T], **details: Any) -> T: ...
@overload
def setting(help: str, *, default: T, **details: Any) -> T: ...
@overload
def setting(help: str, **details: Any) -> Any: ...
def setting(help: str, **details: Any) -> Any:  # noqa: A002
    """Declare a setting of a backend or webhook view, as an attribute of the class::

        api_key: str = setting("An API key.", kind=credential, required=True)

    This is MY_ESP_API_KEY in ``settings.ANYMAIL`` for the ``esp_name`` "My ESP"; the keyword
    argument ``api_key`` of the class, and so an option in MAILERS or an argument of ``as_view()``;
    and the attribute ``api_key`` of instances.

    ``help`` is a sentence in reStructuredText for the documentation. Details can be:

    - ``default``; or ``default_of``, a function that gets the instance; or ``required``. An empty
      string or None for a required setting is the same error as none at all. ("later": the class
      itself looks at it when it needs it.)
    - ``default_text``: what to say about the default, if its value doesn't tell.
    - ``kind``: a function that checks and converts the value, unless it is None, and raises
      ValueError with the end of a sentence that begins with the setting's name. It must not
      repeat the value of a secret. There are :func:`credential`, :func:`credentials`,
      :func:`base_url`, :func:`number` and :func:`as_list`.
    - ``none``: whether None is a value that ``kind`` doesn't get to see (it is, by default).
    - ``bare``: whether ``settings.MY_ESP_API_KEY`` is read, too.
    - ``general``: whether it's a setting for all providers, without the provider's name.
    - ``name``: the setting's, if not that of the attribute.
    - ``options``: names of the keyword argument, if not just that of the attribute. Without any,
      instances don't keep the value: it is looked up each time.
    - ``sandbox``: for the base URL of an API, its path in the sandbox, which takes its place where
      there is a SANDBOX setting and nothing else says where the API is.
    """
    return Setting(help, **details)


_declared: WeakKeyDictionary[type, Mapping[str, Setting]] = WeakKeyDictionary()


def declared_settings(cls: type) -> Mapping[str, Setting]:
    """Return the settings that a class and its bases declare, by the names of the attributes.

    They are in the order in which they are read.
    """
    if cls not in _declared:
        found: dict[str, Setting] = {}
        for base in cls.__mro__:
            for name, value in vars(base).items():
                if isinstance(value, Setting):
                    found.setdefault(name, value)
        _declared[cls] = dict(sorted(found.items(), key=_reading_order))
    return _declared[cls]


def _reading_order(item: tuple[str, Setting]) -> tuple[bool, bool]:
    # Those whose default depends on others come last; missing ones are complained about late.
    return item[1].default_of is not None, item[1].required is True


def read_settings(instance: Any, kwargs: MutableMapping[str, Any]) -> None:
    """Give an instance the values of the settings that its class declares.

    They are taken from kwargs, if they are there. Otherwise what the instance has already stays.
    Raises AnymailConfigurationError or AnymailInvalidMailer.
    """
    cls = type(instance)
    values = vars(instance)
    project = _ProjectSettings()
    # A class without a provider's settings need not say whose it is.
    is_of_provider = _has_provider_settings(cls)  # type: ignore[arg-type]
    esp_name = instance.esp_name if is_of_provider else ""
    defaults = _fixed_defaults(cls, esp_name)  # type: ignore[arg-type]
    found = project.find_names(defaults.names)
    for attribute, declared in declared_settings(cls).items():
        is_option = kwargs and any(name in kwargs for name in declared.options)
        if is_option or (attribute not in values and declared.options):
            override = _plain_value(cls, attribute)
            if override is UNSET and not is_option and attribute in defaults.values:
                names, value = defaults.values[attribute]
                if found.isdisjoint(names):
                    values[attribute] = value
                    continue
            if override is not UNSET and hasattr(override, "__get__"):
                continue  # a property or method of a subclass
            values[attribute] = declared.read(instance, kwargs, override, project)


@lru_cache(maxsize=128)
def _has_provider_settings(cls: type) -> bool:
    return not all(declared.general for declared in declared_settings(cls).values())


class _Defaults:
    """What settings of a class are that nobody has set, if that is always the same.

    (Most are. To look for all of them takes long.)
    """

    def __init__(self, values: dict[str, tuple[frozenset[str], Any]]) -> None:
        self.values = values
        """The names to look for, and the default, by attribute."""
        self.names = frozenset[str]().union(*(names for names, _ in values.values()))
        """All of these names."""


@lru_cache(maxsize=128)
def _fixed_defaults(cls: type, esp_name: str) -> _Defaults:
    values: dict[str, tuple[frozenset[str], Any]] = {}
    for attribute, declared in declared_settings(cls).items():
        default = declared.fixed_default()
        if default is not _nothing:
            key = setting_name(declared.name, None if declared.general else esp_name)
            values[attribute] = frozenset({key, f"ANYMAIL_{key}"}), default
    return _Defaults(values)


_nothing = object()


def _plain_value(cls: type, attribute: str) -> Any:
    """Return what a subclass has in place of a declaration; UNSET if there is nothing."""
    for base in cls.__mro__:
        value = base.__dict__.get(attribute, _nothing)
        if value is not _nothing:
            return UNSET if isinstance(value, Setting) or _is_empty(value) else value
    raise AssertionError(attribute)


def _is_empty(value: Any) -> bool:
    return value is UNSET or value is None or (isinstance(value, (str, list, tuple)) and not value)


# -- Kinds of settings ------------------------------------------------------------------------


def credential(value: Any) -> Any:
    """Return a key or password. ValueError: it has white space at an end, as from a file."""
    if isinstance(value, (str, bytes)) and value != value.strip():
        raise ValueError(
            "has white space at its beginning or end (perhaps the line break of a file)"
        )
    return value


def credentials(value: Any) -> list[Any]:
    """Return the keys in a setting, which can be one or several, without empty ones."""
    return [credential(item) for item in as_list(value) if item]


def basic_auth_secrets(value: Any) -> list[str]:
    """Return the secrets for basic auth in a setting, which can be one or several."""
    secrets: list[str] = as_list(value)
    for secret in secrets:
        if not isinstance(secret, str) or ":" not in credential(secret):
            raise ValueError('must be "user:password", or a list of such')
    return secrets


def as_list(value: Any) -> list[Any]:
    """Return the value of a setting that can be a single text or several of them, as a list."""
    if not value:
        return []
    is_single = isinstance(value, (str, bytes)) or not isinstance(value, Iterable)
    return [value] if is_single else list(value)


def base_url(value: Any) -> str:
    """Return a base URL with the "/" at its end that joining it with an endpoint needs."""
    if not isinstance(value, str):
        raise ValueError(f"must be a URL, not {value!r:.100}")  # noqa: TRY004
    return value if value.endswith("/") or not value else f"{value}/"


def _sandbox_address(value: Any) -> str:
    """Return the URL in the SANDBOX setting, without a "/" at its end.

    ValueError: it's not on this computer; or this isn't development, nor a test run.
    """
    if not (isinstance(value, str) and _is_loopback_url(value)):
        raise ValueError(
            'must be the URL of a sandbox on this computer, such as "http://127.0.0.1:8035"'
        )
    from django.core import mail

    if not (settings.DEBUG or hasattr(mail, "outbox")):
        raise ValueError("is for development: with DEBUG = False, no mail would reach anybody")
    return value.rstrip("/")


def _is_loopback_url(url: str) -> bool:
    """Tell whether a URL is one of an HTTP server on this computer, by a name or address of it."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        return parts.scheme == "http" and (host == "localhost" or ip_address(host).is_loopback)
    except ValueError:
        return False


SANDBOX: Any = setting(
    'URL of :doc:`the sandbox </sandbox>`, such as ``"http://127.0.0.1:8035"``, for development: '
    "calls of providers' APIs go there, unless a setting or option says otherwise. Must be on this "
    "computer. With ``DEBUG = False``, backends can't be used, except in tests. See "
    ":ref:`sandbox-setting`.",
    name="sandbox",
    general=True,
    default=None,
    default_text="none",
    kind=_sandbox_address,
    options=(),
)
"""The declaration of the base class of backends, for all that call providers."""


def sandbox_url() -> str | None:
    """Return the URL that takes the place of providers' APIs, without a "/" at its end.

    None if there is no SANDBOX setting. Raises AnymailConfigurationError if it can't be used here.
    """
    value: str | None = SANDBOX.read(None)
    return value


def number(*, minimum: float = 0, integer: bool = False) -> Callable[[Any], Any]:
    """Return a kind: a number, and at least ``minimum``."""

    def check(value: Any) -> Any:
        kind = int if integer else (int, float)
        if isinstance(value, kind) and not isinstance(value, bool) and value >= minimum:
            return value
        what = "a whole number" if integer else "a number"
        raise ValueError(f"must be {what} of at least {minimum:g}, not {value!r:.100}")

    return check

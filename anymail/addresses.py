"""Email addresses: parsing what users of Django write, formatting what providers expect."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.errors import MessageError
from email.headerregistry import Address
from email.utils import quote
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from .datastructures import is_lazy
from .exceptions import AnymailInvalidAddress
from .headers import has_control_chars, quote_string, rfc2047_encode, unquote_string

if TYPE_CHECKING:
    from .address_syntax import Element

IdnaEncoder = Callable[[str], str]

# RFC 5322 atom and dot-atom, extended by RFC 6531 to any non-ASCII character.
_ATOM_TEXT = r"[^\s()<>@,:;.\"\[\]\\\x00-\x1f\x7f]+"
_DOT_ATOM_TEXT = rf"{_ATOM_TEXT}(?:\.{_ATOM_TEXT})*"
_DOT_ATOM = re.compile(rf"{_DOT_ATOM_TEXT}\Z")

# RFC 5322 quoted-string; as a local part, not empty. (A word that is not closed is none.)
# These are so rare that they are compiled when they are needed. (re keeps them.)
_QUOTED_WORD = r'"(?:[^"\\]|\\.)*"?'
_QUOTED_STRING = r'"(?:[^"\\]|\\.)+"'

# The forms that nearly all addresses have, and that can be understood in one way only: an
# addr-spec, or `Some Name <addr-spec>`, or `"Some, Name" <addr-spec>`. All others are taken
# apart, and left to the stdlib's parser, which takes many times as long. (It decodes encoded-words,
# even in an addr-spec.)
_PLAIN_ADDR_SPEC_TEXT = rf"(?!.*=\?)({_DOT_ATOM_TEXT})@({_DOT_ATOM_TEXT})"
_PLAIN_ADDR_SPEC = re.compile(rf"{_PLAIN_ADDR_SPEC_TEXT}\Z")
_WORD_TEXT = r"[^\s()<>@,:;\"\[\]\\\x00-\x1f\x7f]+"  # an atom with any dots
_PLAIN_ADDRESS = re.compile(
    rf'(?:(?:"([^"\\\r\n\0]*)"|({_WORD_TEXT}(?: {_WORD_TEXT})*)) (<))?'
    rf"{_PLAIN_ADDR_SPEC_TEXT}(?(3)>)\Z"
)

# RFC 5322, section 2.1.1: no line, and so nothing that can't be folded, is longer. (RFC 5321 allows
# 256 for an address. The stdlib's parser takes quadratic time.)
MAX_ADDR_SPEC_LENGTH = 998

# The stdlib's parser is documented to raise ValueError, but has others for junk.
_PARSER_ERRORS = (
    ValueError,
    MessageError,
    AttributeError,
    IndexError,
    RecursionError,
    UnboundLocalError,
)

T = TypeVar("T")


class EmailAddress(Address):
    """An email address: display name, and addr-spec (local part @ domain).

    Like its base class from :mod:`email.headerregistry`, it is read-only, holds the parts
    unquoted and unencoded, and is equal to any Address with the same parts. Unlike that, it
    handles non-ASCII local parts and domains, and formats without folding.

    Raises AnymailInvalidAddress for what can't be an address.
    """

    def __init__(
        self,
        display_name: str | None = "",
        addr_spec: str | None = None,
        *,
        username: str = "",
        domain: str | None = None,
    ) -> None:
        display_name = display_name or ""
        if any(
            has_control_chars(part or "") for part in (display_name, addr_spec, username, domain)
        ):
            raise AnymailInvalidAddress(
                f"{_describe_invalid(addr_spec, display_name)}: "
                "address parts cannot contain CR or LF, or NUL"
            )
        if addr_spec is not None:
            if username or domain:
                raise TypeError("addr_spec can't be given with username or domain")
            username, domain = parse_plain_addr_spec(addr_spec) or _parse_addr_spec(
                addr_spec, display_name
            )
        self._display_name = display_name
        self._username = username
        self._domain = domain or ""

    @classmethod
    def as_written(cls, display_name: str, addr_spec: str) -> EmailAddress:
        """Return an address that somebody else has written, whether or not it is a valid one.

        Its addr-spec stays what it is. Without @, there is no domain. Raises AnymailInvalidAddress
        for line breaks and NUL only.
        """
        if has_control_chars(addr_spec):
            raise AnymailInvalidAddress(_describe_invalid(addr_spec, display_name))
        username, at, domain = addr_spec.rpartition("@")
        if not at:
            username, domain = domain, ""
        username = re.sub(_QUOTED_WORD, lambda match: unquote_string(match[0]), username)
        address = cls._from_parts(display_name, username, domain)
        address._addr_spec = addr_spec
        return address

    @classmethod
    def _from_parts(cls, display_name: str, username: str, domain: str) -> EmailAddress:
        """Return an address of parts that are known to be valid."""
        address = cls.__new__(cls)
        address._display_name = display_name
        address._username = username
        address._domain = domain
        return address

    # As in the base class, whose __init__ checks once more what is known to be valid.

    @property
    def display_name(self) -> str:
        """The name, unquoted and not encoded; "" if there is none."""
        return self._display_name

    @property
    def username(self) -> str:
        """The local part, unquoted."""
        return self._username

    @property
    def domain(self) -> str:
        """The domain, not encoded."""
        return self._domain

    def __str__(self) -> str:
        return self.address

    def __repr__(self) -> str:
        return f"EmailAddress({self.display_name!r}, {self.addr_spec!r})"

    @cached_property
    def address(self) -> str:
        """The address with its display name, as in a header, Unicode left as characters."""
        return self.format()

    @property
    def addr_spec(self) -> str:
        """The bare address: local part, quoted if need be, @ and domain. Nothing is encoded."""
        return self._addr_spec

    @cached_property
    def _addr_spec(self) -> str:
        return self._format_addr_spec(self.domain)

    @property
    def uses_eai(self) -> bool:
        """Whether the local part is internationalized (RFC 6530)."""
        return not self.username.isascii()

    def format(self, *, use_rfc2047: bool = False, idna_encode: IdnaEncoder | None = None) -> str:
        """Return ``display name <addr-spec>``, or the addr-spec if there is no display name.

        The display name is quoted if it has specials; Unicode is left as characters unless
        use_rfc2047. A non-ASCII domain is encoded with idna_encode, if given. Never folds.
        """
        addr_spec = self._addr_spec
        if not self._domain.isascii():
            addr_spec = self.format_addr_spec(idna_encode=idna_encode)
        if not self._display_name:
            return addr_spec
        name = self.format_display_name(use_rfc2047=use_rfc2047, use_quotes=True)
        return f"{name} <{addr_spec}>"

    def format_display_name(
        self,
        *,
        use_rfc2047: bool | Literal["force"] = False,
        use_quotes: bool | Literal["force"] = False,
    ) -> str:
        """Return the display name.

        use_rfc2047 True: as an encoded-word if it is not ASCII; "force": always.
        use_quotes True: quoted if it has specials; "force": always. Encoded-words never are.
        """
        name = self.display_name
        if use_rfc2047 == "force" or (use_rfc2047 and not name.isascii()):
            return rfc2047_encode(name)
        if use_quotes:
            return quote_string(name, force=use_quotes == "force")
        return name

    def format_addr_spec(self, *, idna_encode: IdnaEncoder | None = None) -> str:
        """Return the bare address, a non-ASCII domain encoded with idna_encode, if given."""
        domain = self.domain
        if idna_encode is None or domain.isascii():
            return self._addr_spec
        return self._format_addr_spec(idna_encode(domain))

    def _format_addr_spec(self, domain: str) -> str:
        username = self.username
        if not _DOT_ATOM.match(username):
            username = f'"{quote(username)}"'
        if not domain:
            return username if self.username else "<>"
        return f"{username}@{domain}"

    def as_dict(
        self,
        *,
        name: str = "name",
        email: str = "email",
        use_rfc2047: bool | Literal["force"] = False,
        quote_name: bool | Literal["force"] = False,
        idna_encode: IdnaEncoder | None = None,
    ) -> dict[str, str]:
        """Return ``{"email": addr-spec, "name": display name}``, without an empty name.

        ``name`` and ``email`` are the dict's keys; the rest as in the format methods.
        """
        addr_spec, display_name = self._addr_spec, self._display_name
        if not self._domain.isascii():
            addr_spec = self.format_addr_spec(idna_encode=idna_encode)
        if not display_name:
            return {email: addr_spec}
        if use_rfc2047 or quote_name:
            display_name = self.format_display_name(use_rfc2047=use_rfc2047, use_quotes=quote_name)
        return {email: addr_spec, name: display_name}


def _describe_invalid(addr_spec: str | None, display_name: str) -> str:
    text = f"Invalid email address {addr_spec!r}"
    return f"{text} (display_name={display_name!r})" if display_name else text


def parse_plain_addr_spec(addr_spec: str) -> tuple[str, str] | None:
    """Return an addr-spec's local part and domain, or None if it's for _parse_addr_spec."""
    if len(addr_spec) > MAX_ADDR_SPEC_LENGTH or not (match := _PLAIN_ADDR_SPEC.match(addr_spec)):
        return None
    username, domain = match.groups()
    return username, domain


def _parse_addr_spec(addr_spec: str, display_name: str) -> tuple[str, str]:
    """Return an addr-spec's unquoted local part and its domain. Neither is empty.

    Raises AnymailInvalidAddress. The display name is for that.
    """
    if len(addr_spec) > MAX_ADDR_SPEC_LENGTH:
        raise AnymailInvalidAddress(
            f"Invalid email address {addr_spec[:60] + '...'!r}: "
            f"longer than {MAX_ADDR_SPEC_LENGTH} characters"
        )
    if not addr_spec.isascii():
        # The stdlib can't parse these.
        return _split_addr_spec(addr_spec, display_name)
    try:
        parsed = Address(addr_spec=addr_spec)
    except _PARSER_ERRORS as err:
        raise AnymailInvalidAddress(_describe_invalid(addr_spec, display_name)) from err
    if not (parsed.username and parsed.domain):
        raise AnymailInvalidAddress(_describe_invalid(addr_spec, display_name))
    return parsed.username, parsed.domain


def _split_addr_spec(addr_spec: str, display_name: str) -> tuple[str, str]:
    """Split an internationalized addr-spec into its unquoted local part and its domain."""
    username, at, domain = addr_spec.rpartition("@")
    problem = None
    if not at:
        problem = "missing domain"
    elif not domain:
        problem = "empty domain"
    elif not _DOT_ATOM.match(domain):
        problem = "invalid domain"
    elif re.fullmatch(_QUOTED_STRING, username):
        username = unquote_string(username)
    elif not _DOT_ATOM.match(username):
        problem = "invalid local part" if username else "empty local part"
    if problem:
        raise AnymailInvalidAddress(f"{_describe_invalid(addr_spec, display_name)}: {problem}")
    return username, domain


def parse_address_list(address_list: Any, field: str | None = None) -> list[EmailAddress]:
    """Parse a string or an iterable of strings into a flat list of EmailAddress.

    Each string can hold several comma-separated addresses, or a group. Lazy strings are
    resolved; None, and a list of just None, give []. Encoded-words in display names are not
    decoded. What is an EmailAddress already stays that.

    Raises AnymailInvalidAddress, naming ``field`` (the message attribute) if given.
    """
    if address_list is None or address_list == []:
        return []
    if not isinstance(address_list, (list, tuple)):
        is_single = isinstance(address_list, str) or is_lazy(address_list)
        if is_single or not isinstance(address_list, Iterable):
            address_list = [address_list]
    items = list(address_list)
    if not items or items == [None]:
        return []

    result: list[EmailAddress] = []
    for item in items:
        if isinstance(item, EmailAddress):
            result.append(item)
            continue
        if isinstance(item, bytes):
            # The text of this is b'...', which can be an address.
            raise AnymailInvalidAddress(_describe_list_error(str(item), items, field))
        text = str(item)
        plain = _parse_plain_address(text)
        if plain is not None:
            result.append(plain)
            continue
        for name, addr_spec in _split_address_list(text):
            try:
                result.append(EmailAddress(name, addr_spec))
            except AnymailInvalidAddress as err:
                # The cause says more than err about what is wrong.
                raise AnymailInvalidAddress(_describe_list_error(addr_spec, items, field)) from (
                    err.__cause__ or err
                )
    return result


def parse_single_address(address: str, field: str | None = None) -> EmailAddress:
    """Parse a string that must hold exactly one address.

    Raises AnymailInvalidAddress, naming ``field`` (the message attribute) if given.
    """
    parsed = parse_address_list([address], field=field)
    if len(parsed) != 1:
        where = f" in `{field}`" if field else ""
        raise AnymailInvalidAddress(
            f"Only one email address is allowed; found {len(parsed)} in {str(address)!r}{where}"
        )
    return parsed[0]


def are_plain_addresses(texts: Iterable[Any]) -> bool:
    """Tell whether all of several texts are one valid address each, of the usual forms.

    That takes far less time and memory than parsing them.
    """
    return all(
        type(text) is str and len(text) <= MAX_ADDR_SPEC_LENGTH and _PLAIN_ADDRESS.match(text)
        for text in texts
    )


def _parse_plain_address(text: str) -> EmailAddress | None:
    """Return the address, or None if it's for _split_address_list and EmailAddress."""
    if len(text) > MAX_ADDR_SPEC_LENGTH or not (match := _PLAIN_ADDRESS.match(text)):
        return None
    quoted_name, name, _, username, domain = match.groups()
    address = EmailAddress._from_parts(quoted_name or name or "", username, domain)
    address._addr_spec = f"{username}@{domain}"
    return address


def _split_address_list(text: str) -> list[tuple[str, str]]:
    """Split text into (display name, addr-spec) pairs, neither of them validated.

    What is not a list of addresses is a single bad one.
    """
    # Nearly all addresses are plain ones: many processes never need it.
    from .address_syntax import split_elements

    bad = [("", text)]
    if has_control_chars(text):
        return bad  # EmailAddress refuses it
    pairs: list[tuple[str, str]] = []
    previous = None
    for element in split_elements(text, any_colon=True):
        if element.is_blank:
            if previous == "," and not element.separator:
                return [*pairs, ("", "")]
            # Around groups, and in empty ones, there can be nothing.
            if previous != ";" and not (element.starts_group and element.separator == ";"):
                return bad
        else:
            pair = _split_name_and_addr_spec(element)
            if pair is None or previous == ";":
                return bad
            pairs.append(pair)
        if element.separator == ";" and not element.in_group:
            return bad
        previous = element.separator
    return pairs or bad


def _split_name_and_addr_spec(element: Element) -> tuple[str, str] | None:
    """Return an element's display name and addr-spec; None if it's not made of these."""
    from .address_syntax import is_phrase, join_phrase

    mailbox = element.pieces()
    if element.rest or not is_phrase(mailbox.phrase):
        return None
    name = join_phrase(mailbox.phrase)
    comments = " ".join(mailbox.comments)
    if name and comments:
        name = f"{name} ({comments})"
    if "@" not in mailbox.addr_spec and not mailbox.in_brackets:
        return name, mailbox.addr_spec.partition(" ")[0]  # the word that the error tells
    return name or comments, mailbox.addr_spec


def _describe_list_error(addr_spec: str, items: list[Any], field: str | None) -> str:
    text = f"Invalid email address {addr_spec!r}"
    if field:
        text += f" in `{field}`"
    text += " parsed from {!r}.".format(", ".join(map(str, items)))
    if any("," in str(item) for item in items):
        text += " (maybe missing quotes around a display-name?)"
    return text


class RecipientMap(Generic[T]):
    """Finds a recipient's entry in ``{address: entry}``, such as message.merge_data.

    The keys are addresses as the sender wrote them. Domains match in any case, local parts
    exactly. Both sides are compared before IDNA encoding. Entries for others are ignored.
    """

    def __init__(self, entries: Mapping[str, T]) -> None:
        self._entries = entries

    @cached_property
    def _others(self) -> dict[str, T]:
        """The entries whose addresses don't have the form of keys, by their keys."""
        return {
            key: value
            for address, value in self._entries.items()
            if (key := self._key(str(address))) != address
        }

    @staticmethod
    def _key(addr_spec: str) -> str:
        local_part, at, domain = addr_spec.strip().rpartition("@")
        return f"{local_part}{at}{domain.lower()}"

    def get(self, recipient: EmailAddress) -> T | None:
        """Return the entry for a recipient, or None."""
        addr_spec = recipient.addr_spec
        entry = self._entries.get(addr_spec)
        if entry is not None or not self._entries:  # as nearly always
            return entry
        key = self._key(addr_spec)
        entry = self._entries.get(key)
        return self._others.get(key) if entry is None else entry

    def get_all(self, recipients: Sequence[EmailAddress]) -> list[T | None]:
        """Return the entries for several recipients."""
        entries = [self._entries.get(recipient.addr_spec) for recipient in recipients]
        return [self.get(recipient) for recipient in recipients] if None in entries else entries


class ReportedAddresses:
    """Finds out which recipient a provider means by an address in its answer.

    Providers report addresses in lower case, or IDNA-encoded; users look for the addresses that
    they wrote.
    """

    def __init__(
        self, recipients: Iterable[EmailAddress], idna_encode: IdnaEncoder | None = None
    ) -> None:
        self._recipients = {recipient.addr_spec: recipient for recipient in recipients}
        self._idna_encode = idna_encode

    def addr_spec(self, reported: str) -> str:
        """Return the addr-spec of the recipient; ``reported`` itself if it is none of them."""
        if reported in self._recipients:  # as nearly always
            return reported
        encoded, lowercase = self._other_forms
        return encoded.get(reported) or lowercase.get(reported.lower(), reported)

    @cached_property
    def _other_forms(self) -> tuple[dict[str, str], dict[str, str]]:
        """The recipients' addr-specs by their encoded forms, and by both forms in lower case."""
        all_encoded: dict[str, str] = {}
        lowercase: dict[str, str] = {}
        for addr_spec, recipient in self._recipients.items():
            encoded = recipient.format_addr_spec(idna_encode=self._idna_encode)
            all_encoded[encoded] = addr_spec
            for address in (addr_spec, encoded):
                lowercase.setdefault(address.lower(), addr_spec)
        return all_encoded, lowercase

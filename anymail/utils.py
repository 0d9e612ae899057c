"""Names that packages which extend Anymail import from here. Nothing is defined in this module."""

from collections.abc import Mapping, MutableMapping

from requests.structures import CaseInsensitiveDict

from .addresses import EmailAddress, parse_address_list, parse_single_address
from .attachments import SMTP7BIT, Attachment
from .conf import get_anymail_setting
from .datastructures import (
    UNSET,
    concat_lists,
    force_non_lazy,
    force_non_lazy_dict,
    force_non_lazy_list,
    getfirst,
    is_lazy,
    last,
    merge_dicts_deep,
    merge_dicts_one_level,
    merge_dicts_shallow,
    update_deep,
)
from .headers import (
    RFC5322_SPECIALS,
    CaseInsensitiveCasePreservingDict,
    angle_wrap,
    has_specials,
    parse_rfc2822date,
    quote_string,
    rfc2047_decode,
    rfc2047_encode,
    rfc2822date,
    unquote_string,
)
from .http import (
    DEFAULT_DOWNLOAD_CHUNK_SIZE,
    get_request_basic_auth,
    get_request_uri,
    querydict_getfirst,
)
from .methods import collect_all_methods

BASIC_NUMERIC_TYPES = (int, float)
"""What ``isinstance()`` takes for a number."""

__all__ = [
    "BASIC_NUMERIC_TYPES",
    "DEFAULT_DOWNLOAD_CHUNK_SIZE",
    "RFC5322_SPECIALS",
    "SMTP7BIT",
    "UNSET",
    "Attachment",
    "CaseInsensitiveCasePreservingDict",
    "CaseInsensitiveDict",
    "EmailAddress",
    "Mapping",
    "MutableMapping",
    "angle_wrap",
    "collect_all_methods",
    "concat_lists",
    "force_non_lazy",
    "force_non_lazy_dict",
    "force_non_lazy_list",
    "get_anymail_setting",
    "get_request_basic_auth",
    "get_request_uri",
    "getfirst",
    "has_specials",
    "is_lazy",
    "last",
    "merge_dicts_deep",
    "merge_dicts_one_level",
    "merge_dicts_shallow",
    "parse_address_list",
    "parse_rfc2822date",
    "parse_single_address",
    "querydict_getfirst",
    "quote_string",
    "rfc2047_decode",
    "rfc2047_encode",
    "rfc2822date",
    "unquote_string",
    "update_deep",
]

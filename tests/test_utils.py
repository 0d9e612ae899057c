from __future__ import annotations

import collections.abc
import importlib

from django.test import SimpleTestCase
from requests.structures import CaseInsensitiveDict

import anymail.utils

# Where anymail.utils gets each name from. Other packages import them from anymail.utils.
NAMES = {
    "anymail.addresses": ["EmailAddress", "parse_address_list", "parse_single_address"],
    "anymail.attachments": ["SMTP7BIT", "Attachment"],
    "anymail.conf": ["get_anymail_setting"],
    "anymail.datastructures": [
        "UNSET",
        "collect_all_methods",
        "concat_lists",
        "force_non_lazy",
        "force_non_lazy_dict",
        "force_non_lazy_list",
        "getfirst",
        "is_lazy",
        "last",
        "merge_dicts_deep",
        "merge_dicts_one_level",
        "merge_dicts_shallow",
        "update_deep",
    ],
    "anymail.headers": [
        "RFC5322_SPECIALS",
        "CaseInsensitiveCasePreservingDict",
        "angle_wrap",
        "has_specials",
        "parse_rfc2822date",
        "quote_string",
        "rfc2047_decode",
        "rfc2047_encode",
        "rfc2822date",
        "unquote_string",
    ],
    "anymail.http": [
        "DEFAULT_DOWNLOAD_CHUNK_SIZE",
        "get_request_basic_auth",
        "get_request_uri",
        "querydict_getfirst",
    ],
}


class UtilsTests(SimpleTestCase):
    def test_every_name(self):
        for module_name, names in NAMES.items():
            module = importlib.import_module(module_name)
            for name in names:
                with self.subTest(name=name):
                    self.assertIs(getattr(anymail.utils, name), getattr(module, name))
                    self.assertIn(name, anymail.utils.__all__)

    def test_names_of_others(self):
        self.assertIs(anymail.utils.Mapping, collections.abc.Mapping)
        self.assertIs(anymail.utils.MutableMapping, collections.abc.MutableMapping)
        self.assertIs(anymail.utils.CaseInsensitiveDict, CaseInsensitiveDict)

    def test_constants(self):
        self.assertEqual(anymail.utils.BASIC_NUMERIC_TYPES, (int, float))
        self.assertEqual(anymail.utils.DEFAULT_DOWNLOAD_CHUNK_SIZE, 65536)
        self.assertEqual(anymail.utils.SMTP7BIT.cte_type, "7bit")
        self.assertEqual(anymail.utils.RFC5322_SPECIALS, set('()<>@,:;."[]\\'))

    def test_nothing_else(self):
        expected = {name for names in NAMES.values() for name in names}
        expected |= {"BASIC_NUMERIC_TYPES", "CaseInsensitiveDict", "Mapping", "MutableMapping"}
        self.assertEqual(set(anymail.utils.__all__), expected)

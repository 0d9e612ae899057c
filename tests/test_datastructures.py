from __future__ import annotations

import copy
import pickle
from types import MappingProxyType
from unittest import mock

from django.test import SimpleTestCase
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy
from requests.structures import CaseInsensitiveDict

from anymail.datastructures import (
    UNSET,
    collect_all_methods,
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


class UnsetTests(SimpleTestCase):
    def test_is_a_truthy_class(self):
        self.assertIsInstance(UNSET, type)
        self.assertEqual(UNSET.__name__, "UNSET")
        self.assertTrue(UNSET)

    def test_repr(self):
        self.assertIn("UNSET", repr(UNSET))

    def test_differs_from_other_nothings(self):
        for nothing in [None, False, 0, "", [], {}]:
            self.assertNotEqual(UNSET, nothing)

    def test_identity_survives_copying_and_pickling(self):
        self.assertIs(copy.copy(UNSET), UNSET)
        self.assertIs(copy.deepcopy({"x": [UNSET]})["x"][0], UNSET)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            self.assertIs(pickle.loads(pickle.dumps(UNSET, protocol)), UNSET)

    def test_unpickles_from_where_earlier_releases_had_it(self):
        self.assertIs(pickle.loads(b"canymail.utils\nUNSET\n."), UNSET)


class CombinerTests(SimpleTestCase):
    combiners = [
        last,
        concat_lists,
        merge_dicts_shallow,
        merge_dicts_deep,
        merge_dicts_one_level,
    ]

    def test_nothing(self):
        for combiner in self.combiners:
            with self.subTest(combiner=combiner.__name__):
                self.assertIs(combiner(), UNSET)
                self.assertIs(combiner(UNSET), UNSET)
                self.assertIs(combiner(UNSET, UNSET), UNSET)

    def test_none_discards_what_comes_before(self):
        for combiner in self.combiners:
            value = [1] if combiner is concat_lists else {"a": {"b": 1}}
            with self.subTest(combiner=combiner.__name__):
                self.assertIs(combiner(None), UNSET)
                self.assertIs(combiner(value, None), UNSET)
                self.assertIs(combiner(value, None, UNSET), UNSET)
                self.assertEqual(combiner(value, None, value), value)
                self.assertEqual(combiner(None, value), value)

    def test_unset_is_skipped(self):
        for combiner in self.combiners:
            value = [1] if combiner is concat_lists else {"a": {"b": 1}}
            with self.subTest(combiner=combiner.__name__):
                self.assertEqual(combiner(UNSET, value), value)
                self.assertEqual(combiner(value, UNSET), value)

    def test_empty_is_set(self):
        for combiner in self.combiners:
            empty = [] if combiner is concat_lists else {}
            with self.subTest(combiner=combiner.__name__):
                self.assertEqual(combiner(UNSET, empty), empty)

    def test_arguments_are_never_modified(self):
        for combiner in self.combiners:
            if combiner is concat_lists:
                values = [["a"], ["b"], ["c"]]
            else:
                values = [{"x": {"a": 1}}, {"x": {"b": 2}, "y": {"c": 3}}, {"y": {"d": 4}}]
            before = copy.deepcopy(values)
            with self.subTest(combiner=combiner.__name__):
                combiner(*values)
                self.assertEqual(values, before)

    def test_last(self):
        self.assertEqual(last("a", "b"), "b")
        self.assertEqual(last("a", ""), "")
        self.assertEqual(last("a", False), False)
        self.assertEqual(last(None, "a"), "a")
        self.assertEqual(last("a", UNSET), "a")

    def test_concat_lists(self):
        self.assertEqual(concat_lists([1], [2, 3]), [1, 2, 3])
        self.assertEqual(concat_lists((1,), {2}, iter([3])), [1, 2, 3])
        self.assertEqual(concat_lists([1, [2]], [[3]]), [1, [2], [3]])  # not flattened
        self.assertEqual(concat_lists([1], None, [2]), [2])
        original = [1]
        self.assertIsNot(concat_lists(original), original)

    def test_merge_dicts_shallow(self):
        self.assertEqual(
            merge_dicts_shallow({"a": {"x": 1}, "b": 1}, {"a": {"y": 2}, "c": 3}),
            {"a": {"y": 2}, "b": 1, "c": 3},
        )
        original = {"a": [1]}
        merged = merge_dicts_shallow(original)
        self.assertIsNot(merged, original)
        self.assertIs(merged["a"], original["a"])

    def test_merge_dicts_shallow_keeps_the_type_of_the_first(self):
        merged = merge_dicts_shallow(CaseInsensitiveDict({"X-A": "1"}), {"x-a": "2"})
        self.assertIsInstance(merged, CaseInsensitiveDict)
        self.assertEqual(list(merged.items()), [("x-a", "2")])

    def test_merge_dicts_deep(self):
        first = {"a": {"x": {"p": 1}, "l": [1]}, "b": 1}
        second = {"a": {"x": {"q": 2}, "l": [2]}, "c": 3}
        merged = merge_dicts_deep(first, second)
        self.assertEqual(merged, {"a": {"x": {"p": 1, "q": 2}, "l": [2]}, "b": 1, "c": 3})
        merged = merge_dicts_deep(first)
        self.assertEqual(merged, first)
        self.assertIsNot(merged["a"]["l"], first["a"]["l"])

    def test_merge_dicts_one_level(self):
        first = {"a@example.com": {"x": {"p": 1}, "y": 1}, "b@example.com": {"x": 1}}
        second = {"a@example.com": {"x": {"q": 2}}, "c@example.com": {"z": 3}}
        merged = merge_dicts_one_level(first, second)
        self.assertEqual(
            merged,
            {
                "a@example.com": {"x": {"q": 2}, "y": 1},
                "b@example.com": {"x": 1},
                "c@example.com": {"z": 3},
            },
        )

    def test_merge_dicts_one_level_gives_new_plain_dicts(self):
        inner = CaseInsensitiveDict({"a": 1})
        merged = merge_dicts_one_level(MappingProxyType({"x": inner}))
        self.assertIs(type(merged), dict)
        self.assertIs(type(merged["x"]), dict)
        merged["x"]["b"] = 2
        self.assertNotIn("b", inner)

    def test_read_only_mappings(self):
        frozen = MappingProxyType({"a": 1})
        for combiner in [merge_dicts_shallow, merge_dicts_deep]:
            with self.subTest(combiner=combiner.__name__):
                self.assertEqual(combiner(frozen, MappingProxyType({"b": 2})), {"a": 1, "b": 2})
                self.assertEqual(combiner(frozen), {"a": 1})


class UpdateDeepTests(SimpleTestCase):
    def test_recursive_in_place(self):
        dct = {"a": {"x": 1, "y": {"p": 1}}, "b": 1}
        inner = dct["a"]
        self.assertIsNone(update_deep(dct, {"a": {"y": {"q": 2}}, "c": {"d": 3}}))
        self.assertEqual(dct, {"a": {"x": 1, "y": {"p": 1, "q": 2}}, "b": 1, "c": {"d": 3}})
        self.assertIs(dct["a"], inner)

    def test_replaces_unless_both_are_mappings(self):
        dct = {"list": [1], "scalar": {"a": 1}, "mapping": 1, "frozen": MappingProxyType({"a": 1})}
        other = {"list": [2], "scalar": 2, "mapping": {"b": 1}, "frozen": {"b": 1}}
        update_deep(dct, other)
        self.assertEqual(dct, other)

    def test_any_mapping(self):
        dct = {"h": CaseInsensitiveDict({"X-A": 1})}
        update_deep(dct, MappingProxyType({"h": MappingProxyType({"x-a": 2})}))
        self.assertEqual(dct["h"], {"X-A": 2})


class GetFirstTests(SimpleTestCase):
    def test_first_present_key(self):
        self.assertEqual(getfirst({"a": 1, "b": 2}, ["b", "a"]), 2)
        self.assertEqual(getfirst({"a": 1}, ["b", "a"]), 1)
        self.assertIsNone(getfirst({"a": None, "b": 2}, ["a", "b"]))
        self.assertEqual(getfirst({"a": 1}, (key for key in ["x", "a"])), 1)

    def test_default(self):
        self.assertEqual(getfirst({}, ["a"], 3), 3)
        self.assertIsNone(getfirst({}, ["a"], default=None))

    def test_missing(self):
        with self.assertRaisesMessage(KeyError, "'first', 'second'"):
            getfirst({"a": 1}, ["first", "second"])
        with self.assertRaisesMessage(KeyError, "'first', 'second'"):
            getfirst({"a": 1}, (key for key in ["first", "second"]))


class CollectAllMethodsTests(SimpleTestCase):
    def test_in_mro_order_without_duplicates(self):
        class Base:
            def check(self):
                return "base"

        class Left(Base):
            def check(self):
                return "left"

        class Right(Base):
            pass

        class Alias(Base):
            check = Base.check

        class Bottom(Left, Right, Alias):
            def check(self):
                return "bottom"

        methods = collect_all_methods(Bottom, "check")
        self.assertEqual(methods, [Bottom.check, Left.check, Base.check])
        self.assertEqual([method(None) for method in methods], ["bottom", "left", "base"])

    def test_none_and_missing(self):
        class NoCheck:
            check = None

        self.assertEqual(collect_all_methods(NoCheck, "check"), [])
        self.assertEqual(collect_all_methods(NoCheck, "other"), [])


class LazyTests(SimpleTestCase):
    lazy = gettext_lazy("Lazy")

    def test_is_lazy(self):
        self.assertTrue(is_lazy(self.lazy))
        self.assertTrue(is_lazy(format_lazy("{}!", self.lazy)))
        for value in ["text", b"bytes", None, 1, [self.lazy], {"a": self.lazy}]:
            self.assertIs(is_lazy(value), False)

    def test_force_non_lazy(self):
        for lazy, expected in [(self.lazy, "Lazy"), (format_lazy("{}!", self.lazy), "Lazy!")]:
            result = force_non_lazy(lazy)
            self.assertIs(type(result), str)
            self.assertEqual(result, expected)
        for value in ["text", b"bytes", None, 1, [self.lazy]]:
            self.assertIs(force_non_lazy(value), value)

    def test_force_non_lazy_list(self):
        original = ["a", self.lazy, None, b"b"]
        result = force_non_lazy_list(original)
        self.assertEqual(result, ["a", "Lazy", None, b"b"])
        self.assertIs(type(result[1]), str)
        self.assertIs(type(original[1]), type(self.lazy))
        self.assertEqual(force_non_lazy_list(("a", self.lazy)), ["a", "Lazy"])
        self.assertEqual(force_non_lazy_list(item for item in [self.lazy]), ["Lazy"])
        plain = ["a"]
        self.assertIsNot(force_non_lazy_list(plain), plain)

    def test_force_non_lazy_list_of_something_else(self):
        self.assertIs(type(force_non_lazy_list(self.lazy)), str)
        self.assertEqual(force_non_lazy_list(self.lazy), "Lazy")
        self.assertIsNone(force_non_lazy_list(None))
        self.assertEqual(force_non_lazy_list(3), 3)

    def test_force_non_lazy_list_reports_errors_of_iterators(self):
        def broken():
            yield "a"
            raise TypeError("broken")

        with self.assertRaisesMessage(TypeError, "broken"):
            force_non_lazy_list(broken())

    def test_force_non_lazy_dict(self):
        key = gettext_lazy("key")
        inner_list = [self.lazy]
        original = {"a": self.lazy, "b": {"c": self.lazy, "d": 1}, key: "e", "f": inner_list}
        result = force_non_lazy_dict(original)
        self.assertIs(type(result["a"]), str)
        self.assertIs(type(result["b"]["c"]), str)
        self.assertEqual(result["b"], {"c": "Lazy", "d": 1})
        self.assertIn(key, list(result))
        self.assertIs(result["f"], inner_list)
        self.assertIsNot(result, original)
        self.assertTrue(is_lazy(original["b"]["c"]))

    def test_force_non_lazy_dict_gives_plain_dicts(self):
        result = force_non_lazy_dict(CaseInsensitiveDict({"A": MappingProxyType({"b": 1})}))
        self.assertIs(type(result), dict)
        self.assertIs(type(result["A"]), dict)

    def test_force_non_lazy_dict_of_recipients(self):
        for value, text in ((1, 1), (self.lazy, "Lazy"), ({"y": [1]}, {"y": [1]})):
            with self.subTest(value=value):
                original = {"a": {"x": value}, "b": {"x": "2"}, "c": {}}
                result = force_non_lazy_dict(original)
                self.assertEqual(result, {"a": {"x": text}, "b": {"x": "2"}, "c": {}})
                self.assertIs(type(result["a"]["x"]), type(text))
                for name, inner in original.items():
                    self.assertIsNot(result[name], inner)

    def test_force_non_lazy_dict_of_something_else(self):
        self.assertIs(type(force_non_lazy_dict(self.lazy)), str)
        self.assertIsNone(force_non_lazy_dict(None))
        self.assertEqual(force_non_lazy_dict([1]), [1])
        self.assertIs(force_non_lazy_dict(mock.sentinel.thing), mock.sentinel.thing)

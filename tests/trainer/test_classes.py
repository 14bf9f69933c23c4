"""Which class is which: by index within a cache, by name between caches, and never one for two."""

import pytest

from trainer.classes import chosen, matched, spelling, united


@pytest.mark.parametrize(
    ("names", "others", "places"),
    [
        (("-1", "+1"), ("-1", "+1"), [0, 1]),
        (("-1", "+1"), ("+1", "-1"), [1, 0]),
        (("c", "C"), ("C", "c", "d"), [1, 0]),
        (("t-bar", "T bar"), ("T bar", "t-bar"), [1, 0]),
        (("night_stand", "bed"), ("bed", "night stand"), [1, 0]),
        (("Night-Stand", "sofa"), ("night_stand",), [0, -1]),
        (("t-bar",), ("T bar", "t-bar"), [1]),
        (("-1", "+1"), ("1", "0"), [-1, -1]),
        (("A-",), ("A", "A+"), [-1]),
        (("+", "-"), ("-", "+", "_"), [1, 0]),
        ((), ("a",), []),
    ],
)
def test_names_are_matched_exactly_and_then_by_spelling(names, others, places):
    assert matched(names, others).tolist() == places


@pytest.mark.parametrize(
    ("names", "others", "told"),
    [
        (("T-Bar",), ("t-bar", "T bar"), r"class 'T-Bar' in a.*there is 'T-Bar' in a, and 't-bar' and 'T bar' in b"),
        (("t-bar", "T bar"), ("t_bar",), r"'t-bar' and 'T bar' in a, and 't_bar' in b"),
        (("t-bar", "T bar"), ("t-bar",), r"class 'T bar' in a.*Give the same class the same name in both"),
        (("a",), ("a", "a"), r"class 'a' in a"),
    ],
)
def test_what_collides_is_refused_with_both_names(names, others, told):
    with pytest.raises(ValueError, match=told):
        matched(names, others, "a", "b")


def test_a_list_made_of_the_names_goes_by_place():
    assert matched(("t-bar", "t bar", "1"), ("t bar", "t bar", "1"), own=True).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="cannot be told"):
        matched(("t-bar", "t bar"), ("t bar", "t bar"))


def test_several_caches_together():
    classes, places = united([("night_stand", "bed"), ("sofa", "night stand"), ("Night Stand",)], "abc")
    assert classes == ("night_stand", "bed", "sofa") and [p.tolist() for p in places] == [[0, 1], [2, 0], [0]]
    assert united([("-1", "+1")], "a")[0] == ("-1", "+1")
    for lists in ([("c", "C"), ("C", "c")], [("c",), ("c", "C")][:1] * 2):
        assert united(lists, "ab")[1]
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        lists = [[("x_y",), ("x y",), ("x_y", "x y")][i] for i in order]
        with pytest.raises(ValueError, match="cannot be told"):
            united(lists, "abc")


def test_a_setting_names_classes_one_by_one():
    assert chosen(("Night Stand", "night_stand", "nix"), ("night_stand", "bed")).tolist() == [0, 0, -1]
    assert chosen(("c",), ("C", "c")).tolist() == [1]
    with pytest.raises(ValueError, match=r"'T-Bar'.*'t-bar' and 'T bar'"):
        chosen(("T-Bar",), ("t-bar", "T bar"))
    assert spelling("__") == "__" and spelling(" Night-Stand ") == "night stand"

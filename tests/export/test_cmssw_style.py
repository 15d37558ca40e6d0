"""Each rule fires on what breaks it, and not on a class that keeps them all."""

from __future__ import annotations

import pytest

from holdfast.export.cmssw_style import check_style

HEADER = """#ifndef My_Package_GoodThing_h
#define My_Package_GoodThing_h

#include <vector>

/// Comments may say printf("x") and class bad_name { int x; };
class GoodThing {
public:
  enum class Kind { One, Two };
  using Values = std::vector<float>;
  explicit GoodThing(int cells, const std::vector<int>& sizes = {1, 2});
  ~GoodThing();
  GoodThing& operator=(const GoodThing&) = delete;
  static constexpr int cells() { return 3; }
  const Values& values() const { return values_; }
  template <typename T>
  void fill(const std::vector<T>& from) {
    for (const auto& each : from) {
      values_.push_back(each);
    }
  }

private:
  friend class Other;
  void run();
  Values values_;
  std::vector<std::vector<int>> shape_ = {{1}, {2}};
  double table_[3] = {1, 2, 3};
  int number_{0};
};

#endif
"""
SOURCE = '#include "My/Package/interface/GoodThing.h"\n\nvoid GoodThing::run() { snprintfLike(); }\n'


@pytest.fixture
def broken(tmp_path):
    """What is found once ``old`` of the header has become ``new``: rules, and the lines they are in."""

    def check(old="", new="", source=SOURCE):
        assert old in HEADER
        for folder, name, text in (
            ("interface", "GoodThing.h", HEADER.replace(old, new)),
            ("src", "GoodThing.cc", source),
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / name).write_text(text)
        return [(found.rule, found.file, found.line) for found in check_style(tmp_path, "My/Package")]

    return check


def test_a_class_that_keeps_the_rules_passes(broken):
    assert broken() == []


@pytest.mark.parametrize(
    ("rule", "line", "old", "new"),
    [
        ("guard", 1, "My_Package_GoodThing_h", "GOODTHING_H"),
        ("guard", 1, "#define My_Package_GoodThing_h", "#define My_Package_Goodthing_h"),
        ("columns", 6, "/// Comments", "/// " + "x" * 120),
        ("type", 9, "Kind {", "kind {"),
        ("type", 7, "class GoodThing {", "class Good_Thing {"),
        ("method", 15, "& values()", "& Values()"),
        ("method", 17, "void fill(", "void fill_it("),
        ("method", 26, "void run(", "void Run("),
        ("member", 27, "  Values values_;", "  Values values;"),
        ("member", 28, "shape_ =", "m_shape ="),
        ("member", 29, "table_[3]", "table[3]"),
        ("member", 30, "number_{0}", "fNumber{0}"),
        ("public-data", 27, "  Values values_;", "public:\n  Values values_;"),
        ("public-data", 27, "  Values values_;", "  struct Point {\n    int x_;\n  };\n  Values values_;"),
        ("printf", 26, "  void run();", '  void run() { printf("%d", 1); }'),
        ("printf", 26, "  void run();", '  void run() { std::fprintf(stderr, "x"); }'),
    ],
)
def test_each_rule_fires(broken, rule, line, old, new):
    found = broken(old, new)
    assert rule in [name for name, _, _ in found]
    where = [at for name, _, at in found if name == rule]
    assert abs(where[0] - line) <= 1, found


def test_a_printf_in_a_source_fires(broken):
    assert broken(source=SOURCE + 'void f() {\n  sprintf(x, "y");\n}\n') == [
        ("printf", "src/GoodThing.cc", 5)
    ]


def test_a_class_needs_both_files(broken, tmp_path):
    broken()
    (tmp_path / "src" / "GoodThing.cc").unlink()
    (tmp_path / "src" / "Other.cc").write_text("int x();\n")
    found = [(each.rule, each.file) for each in check_style(tmp_path, "My/Package")]
    assert found == [("pair", "interface/GoodThing.h"), ("pair", "src/Other.cc")]
    assert "interface/GoodThing.h:1: GoodThing has no .cc beside it [pair]" in map(
        str, check_style(tmp_path, "My/Package")
    )

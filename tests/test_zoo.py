"""The papers' models: every recipe says what was published, and the page says what is counted."""

import runpy

import pytest

from tests.helpers import ROOT

pytestmark = pytest.mark.slow

ZOO = runpy.run_path(str(ROOT / "docs" / "zoo.py"))
ROWS = ZOO["rows"]()


def test_all_fifteen_rows_have_a_recipe():
    assert len(ROWS) == 15


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.recipe)
def test_the_page_is_what_the_code_counts(row):
    line = ZOO["line"](row)
    assert line in (ROOT / "docs" / "zoo.md").read_text()
    cells = [cell.strip() for cell in line.strip("|\n ").split("|")]
    assert float(cells[5]) == pytest.approx(float(row.published["gmacs"]), rel=0.01)
    assert float(cells[8]) == pytest.approx(float(row.published["params"]), abs=0.011)

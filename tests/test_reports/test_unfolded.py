"""Tables keep their lines in files and pipes, however many columns they have."""

from rich.table import Table

from src.reports.tables import print_unfolded


def test_a_row_is_a_line(capsys):
    table = Table(*(f"column {number}" for number in range(30)))
    table.add_row(*(f"attention_absorb {number}" for number in range(30)))
    print_unfolded(table)
    lines = capsys.readouterr().out.splitlines()
    assert any(all(f"attention_absorb {n}" in line for n in range(30)) for line in lines)

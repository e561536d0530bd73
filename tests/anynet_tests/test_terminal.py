import pytest

from anynet.terminal import print_line, print_notes, print_table

COLUMNS = ("name", "error %", "flops", "interval")
ROWS = [("a_1|b", "1.50", 12345, "1 to 2"), ("c & d", "-", 7, "±3")]


def printed(capsys, form=None, title=""):
    print_table(COLUMNS, ROWS, title, form)
    return capsys.readouterr().out


def test_markdown_escapes_and_aligns_numbers_to_the_right(capsys):
    assert printed(capsys, "markdown", "runs*").splitlines() == [
        r"**runs\***",
        "",
        "| name | error % | flops | interval |",
        "|---|---:|---:|---|",
        r"| a_1\|b | 1.50 | 12,345 | 1 to 2 |",
        "| c & d | - | 7 | ±3 |",
        "",
    ]


def test_latex_escapes_and_has_the_rules_of_booktabs(capsys):
    assert printed(capsys, "latex", "runs").splitlines() == [
        "% runs",
        r"\begin{tabular}{lrrl}",
        r"\toprule",
        r"name & error \% & flops & interval \\",
        r"\midrule",
        r"a\_1\textbar{}b & 1.50 & 12,345 & 1 to 2 \\",
        r"c \& d & - & 7 & ±3 \\",
        r"\bottomrule",
        r"\end{tabular}",
        "",
    ]


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        (r"\x{y}", r"\textbackslash{}x\{y\}"),
        ("#1 $2 ~3 ^4", r"\#1 \$2 \textasciitilde{}3 \textasciicircum{}4"),
        ("params <= 3e6\nR²", r"params \textless{}= 3e6 R\textsuperscript{2}"),
    ],
)
def test_what_latex_reads_as_a_command_is_escaped(text, latex, capsys):
    print_table(("x",), [(text,)], form="latex")
    assert f"{latex} \\\\\n" in capsys.readouterr().out


def test_every_row_of_a_form_has_the_cells_of_the_text(capsys):
    cells = printed(capsys).split("\n", 1)[1]
    for form in ("markdown", "latex"):
        table = printed(capsys, form)
        assert table.count("12,345") == 1 == cells.count("12,345")


def test_lines_beside_a_table_for_a_document_are_not_in_it(capsys):
    print_line("fig.png", None)
    print_line("fig.svg", "latex")
    captured = capsys.readouterr()
    assert captured.out == "fig.png\n"
    assert captured.err == "fig.svg\n"


def test_notes_are_lines_on_standard_error(capsys):
    print_notes(["one", "", "two"])
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "anynet: one\nanynet: two\n")

from experiments.tables.text import aligned


def test_text_is_left_and_numbers_are_right():
    lines = aligned(["layer", "kind", "size"], [["conv1", "conv", "96 kB"], ["fc", "linear", "1.5 MB"]])
    assert lines == [
        "layer  kind      size",
        "conv1  conv     96 kB",
        "fc     linear  1.5 MB",
    ]


def test_a_table_without_rows_keeps_its_titles():
    assert aligned(["layer", "size"], []) == ["layer  size"]
    assert aligned(["layer", "size"], [], markdown=True) == ["| layer | size |", "| ----- | ---- |"]

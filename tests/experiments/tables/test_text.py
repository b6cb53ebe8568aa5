from experiments.tables.text import aligned


def test_text_is_left_and_numbers_are_right():
    lines = aligned(["layer", "kind", "size"], [["conv1", "conv", "96 kB"], ["fc", "linear", "1.5 MB"]])
    assert lines == [
        "layer  kind      size",
        "conv1  conv     96 kB",
        "fc     linear  1.5 MB",
    ]


def test_markdown_reads_as_a_table_in_its_source_too():
    lines = aligned(["layer", "size", "note"], [["conv1", "96", ""], ["fc", "1,024", "2x"]], True, words=["note"])
    assert lines == [
        "| layer |  size | note |",
        "| ----: | ----: | ---- |",
        "| conv1 |    96 |      |",
        "|    fc | 1,024 | 2x   |",
    ]


def test_a_table_without_rows_keeps_its_titles():
    assert aligned(["layer", "size"], []) == ["layer  size"]
    assert aligned(["layer", "size"], [], markdown=True) == ["| layer | size |", "| ----- | ---- |"]

from hypothesis import given
from hypothesis import strategies as st

from allinone.apps.tools.job import Journal

records = st.dictionaries(st.text(), st.lists(st.integers() | st.none() | st.text(), max_size=3), max_size=5)


def test_a_cut_line_that_is_json_is_no_record(tmp_path):
    (tmp_path / "done.jsonl").write_text('["a", 1]\n5\n[["a"], 1]\n["b"')
    with Journal(tmp_path / "done.jsonl") as journal:
        assert journal.records == {"a": 1}


@given(before=records, after=records, cut=st.integers(0, 200))
def test_a_journal_cut_at_any_byte_loses_the_last_record_at_most(tmp_path_factory, before, after, cut):
    path = tmp_path_factory.mktemp("journal") / "new" / "done.jsonl"
    with Journal(path) as journal:
        for key, record in before.items():
            journal.add(key, record)
    content = path.read_bytes()
    kept = content[: max(0, len(content) - cut)]
    path.write_bytes(kept)
    whole = dict(list(before.items())[: kept.count(b"\n") + (not kept.endswith(b"\n"))])
    with Journal(path) as journal:
        assert journal.records.items() <= whole.items()
        assert len(journal.records) >= kept.count(b"\n")
        there = dict(journal.records)
        for key, record in after.items():
            journal.add(key, record)
    with Journal(path) as journal:
        assert journal.records == there | after

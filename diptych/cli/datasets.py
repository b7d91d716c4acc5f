"""``diptych datasets``."""

from __future__ import annotations


def datasets(name: str | None = None, /, *, json: bool = False) -> None:
    """List the data sets that are known by name, or tell all of one: sizes, what is reported, where its data are found.

    Example:
        diptych datasets
        diptych datasets pcam

    Parameters
    ----------
    name
        One of those that are listed, a title, or CLIP_benchmark's name (vtab/flowers).
    json
        Print the rows of the table as JSON.
    """
    from json import dumps

    from diptych.cli.output import print_table
    from diptych.config import to_dict
    from diptych.evaluation import dataset_guide
    from diptych.evaluation.datasets import DATASETS, find

    row = None if name is None else find(name)
    if json:
        rows = DATASETS if row is None else {row.name: row}
        print(dumps({key: to_dict(value) for key, value in rows.items()}, indent=2))
    elif row is not None:
        print(dataset_guide.described(row))
    else:
        print_table(dataset_guide.HEADER, dataset_guide.overview())
        print("\nAll of one: diptych datasets NAME. To measure on it: diptych evaluate MODEL NAME=FOLDER.")

"""Photographs that `train.csv` and `val.csv` list, a row `path,label` each, below their folder."""

import csv
from functools import cached_property
from pathlib import Path

from src.datamodules.labelled import LabelledImages, PhotoFiles
from src.datamodules.photos import PhotoModule, PhotoSource
from src.errors import InputError, some


class CsvSource(PhotoSource):
    """Classes are the labels of `val.csv`, sorted."""

    def __init__(self, root):
        self.root = Path(root)
        self.adopted = None

    @property
    def class_names(self):
        return self.adopted or tuple(sorted({label for _, label in self.rows(training=False)}))

    def adopt_classes(self, names):
        self.adopted = tuple(names)

    def check(self, training):
        for part in (True, False) if training else (False,):
            self.files(part)

    def num_train_images(self):
        return len(self.files(training=True))

    def dataset(self, training, transform):
        return LabelledImages(self.files(training), transform)

    def val_filenames(self):
        return self.files(training=False).filenames()

    def files(self, training):
        outputs = {name: output for output, name in enumerate(self.class_names)}
        rows = self.rows(training)
        unknown = [label for _, label in rows if label not in outputs]
        if unknown:
            raise InputError(
                f"{self.root}/train.csv has classes that val.csv lacks: {some(unknown)}."
            )
        return PhotoFiles(self.root, [(str(self.root / p), outputs[label]) for p, label in rows])

    def rows(self, training):
        file = self.root / ("train.csv" if training else "val.csv")
        with file.open(newline="") as lines:
            rows = list(csv.reader(lines))
        for number, row in enumerate(rows, start=1):
            if len(row) != 2 or not (self.root / row[0]).is_file():
                raise InputError(f"Row {number} of {file} is {row}: write a file and its class.")
        return rows


class CsvLabels(PhotoModule):
    """One photograph a row."""

    def __init__(self, *, root, **photos):
        super().__init__(**photos)
        self.root = root

    @cached_property
    def source(self):
        return CsvSource(self.root)

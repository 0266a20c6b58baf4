"""Examples that are never in memory all at once. (Not a test: tests of jobs use them.)"""

import dataclasses

from tfpoison.data import InMemoryExamples


class OnDisk(InMemoryExamples):
    """Stands for examples on disk, without reading any: only a few may be asked for at once."""

    @property
    def in_memory(self):
        return False

    @property
    def images(self):
        raise AssertionError("all images at once")

    def read(self, positions):
        assert len(positions) <= 100
        return super().read(positions)

    def select(self, positions, labels=None):
        return put_on_disk(super().select(positions, labels))


def put_on_disk(examples):
    return OnDisk(examples._images, examples.labels, examples.ids)


def put_data_set_on_disk(images):
    train, validation = put_on_disk(images.train), put_on_disk(images.validation)
    return dataclasses.replace(images, train=train, validation=validation)

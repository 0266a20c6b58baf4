"""Parts that are described by their settings: compared, printed, saved and loaded by them."""

import dataclasses
from typing import Any, Self

import keras

from tfpoison.settings import Settings


class Configurable(Settings):
    """Base of the frozen dataclasses that Keras can save within a model and load again.

    A subclass is a frozen dataclass registered with
    `keras.saving.register_keras_serializable("tfpoison")`; its fields are its settings. Making one
    raises TypeError where a setting has the wrong type, ValueError where it has a value that cannot
    be.
    """

    @classmethod
    def settings(cls) -> dict[str, Any]:
        """Returns each setting's name with its default; `dataclasses.MISSING` where none is."""
        return {field.name: field.default for field in dataclasses.fields(cls)}  # type: ignore[arg-type]

    def get_config(self) -> dict[str, Any]:
        """Returns the settings as Keras serialises them."""
        return {
            name: keras.saving.serialize_keras_object(getattr(self, name))
            for name in self.settings()
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Returns the object that `get_config` described."""
        return cls(
            **{name: keras.saving.deserialize_keras_object(value) for name, value in config.items()}
        )

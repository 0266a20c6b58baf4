"""Parts that are described by their settings: compared, printed, saved and loaded by them."""

import abc
import dataclasses
from typing import Any, Self

import keras

from tfpoison.settings import Settings


class Configurable(Settings):
    """Base of the frozen dataclasses that Keras can save within a model and load again.

    A subclass is a frozen dataclass; its fields are its settings. It is registered with Keras under
    the name of its package. Making one raises TypeError where a setting has the wrong type,
    ValueError where it has a value that cannot be.
    """

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if abc.ABC not in cls.__bases__:
            package = cls.__module__.partition(".")[0]
            keras.saving.register_keras_serializable(package)(cls)

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

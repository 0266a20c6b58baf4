"""What the reference shows of settings: the sentence that each field was declared with."""

import ast
from typing import Any

import griffe


class SettingTexts(griffe.Extension):
    """Reads a field's default and its docstring from `setting(default, text, ...)`."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Griffe calls it for every attribute of every class that it reads."""
        value = attr.value
        if isinstance(value, griffe.ExprCall) and str(value.function) == "setting":
            text = str(value.arguments[1]).removeprefix("f")
            attr.value = value.arguments[0]
            attr.docstring = griffe.Docstring(ast.literal_eval(text), parent=attr)

"""Every public method is documented, by itself or by what it overrides."""

import functools
import importlib
import inspect
import pkgutil

import tfpoison

METHODS = (property, functools.cached_property, classmethod, staticmethod)


def public_methods(kind):
    for name, value in vars(kind).items():
        is_method = inspect.isfunction(value) or isinstance(value, METHODS)
        # What wraps a method of Keras has its docstring, if that has any.
        if is_method and not name.startswith("_") and not hasattr(value, "__wrapped__"):
            yield name


def test_every_public_method_is_documented():
    modules = [each.name for each in pkgutil.walk_packages(tfpoison.__path__, "tfpoison.")]
    found, bare = 0, []
    for module in modules:
        for name, kind in inspect.getmembers(importlib.import_module(module), inspect.isclass):
            if kind.__module__ == module and not name.startswith("_"):
                for method in public_methods(kind):
                    found += 1
                    text = inspect.getdoc(getattr(kind, method))
                    bare += [] if text else [f"{module}.{name}.{method}"]
    assert found > 300  # The search does find methods.
    assert bare == []

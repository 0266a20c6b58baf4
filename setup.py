"""What setup.cfg has no words for: the folder flags/ is installed within the package."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["tfpoison*"]), "tfpoison.flags"],
    package_dir={"tfpoison.flags": "flags"},
    package_data={
        "": ["py.typed", "*.pyi", "templates/*"],
        "tfpoison.flags": ["*.flags", "*/*.flags"],
    },
)

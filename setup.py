"""Names the packages; everything else about the distribution stands in setup.cfg."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["cxrcad", "cxrcad.*"]), "cxrcad_models"],
    # The top-level models/ ships inside the wheel, so that `cxrcad detect` works outside a checkout.
    package_dir={"cxrcad_models": "models"},
)

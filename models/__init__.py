"""Packaged models: each folder beside this file is one. It makes models/ the package `cxrcad_models` of the wheel."""

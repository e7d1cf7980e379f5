"""cxrcad finds lung nodules in chest radiographs with MO-SegNet (Park, Jeong, Moon 2020)."""

__version__ = "0.1.0"

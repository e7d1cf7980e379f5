"""Results as the DICOM objects that a PACS takes: reports, segmentations, presentation states and captures."""

"""What DICOM files are made of: lengths, values, paths. Knows the standard, knows no stage."""

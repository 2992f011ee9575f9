"""The doors: DICOM associations, and the one way in for objects from anywhere. Acknowledges only what is durable."""

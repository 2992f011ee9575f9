"""The three roles as processes: what each builds from the settings and runs until its life line breaks."""

"""Git and YAML: reading commits and their files, and writing what a verb changed back as one commit."""
